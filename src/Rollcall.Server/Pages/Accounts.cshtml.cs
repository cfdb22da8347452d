using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages;

/// <summary>Local accounts of the district: who has one, a new one, a new password, and their end.</summary>
internal sealed class AccountsModel(Here here, Accounts accounts, AccountDesk desk, SiteService sites, Reach reach) : RollcallPage(here)
{
    public const int Size = 50;

    /// <summary>More than these need a search.</summary>
    public const int Few = 12;

    /// <summary>Those of the page that is shown.</summary>
    public IReadOnlyList<AccountRow> List { get; private set; } = [];

    /// <summary>How many there are, whatever is searched for.</summary>
    public int All { get; private set; }
    public int Total { get; private set; }
    public int Number { get; private set; }
    public string? Search { get; private set; }
    public string Sort { get; private set; } = "email";
    public bool Down { get; private set; }
    public IReadOnlyDictionary<long, int> Sessions { get; private set; } = new Dictionary<long, int>();
    public IReadOnlyList<Site> Sites { get; private set; } = [];

    /// <summary>A link that sets a password, for whom: shown once. Null otherwise.</summary>
    public (string For, string Url)? Link { get; private set; }

    /// <summary>The account was there before, and begins anew with <see cref="Link"/>.</summary>
    public bool Renewed { get; private set; }

    public string? Problem { get; private set; }
    public string Email { get; private set; } = "";
    public SecurityGroup Group { get; private set; } = SecurityGroup.Librarian;
    public HashSet<string> Chosen { get; private set; } = [];

    public static IEnumerable<SecurityGroup> Groups =>
        [SecurityGroup.StudentAide, SecurityGroup.Librarian, SecurityGroup.LibraryAdministrator, SecurityGroup.DistrictAdministrator];

    /// <summary>The order that the address asks for; null where it asks for none.</summary>
    public (string Sort, string? Order)? Sorted =>
        Text.Clean(Request.Query["sort"]) is { } sort ? (Text.Cut(sort, 20), Request.Query["order"] == "down" ? "down" : null) : null;

    /// <summary>The present address with what is shown, and these values besides.</summary>
    public string Address(params (string Name, string? Value)[] more) =>
        Addresses.Of(
            "/accounts",
            [
                .. more,
                ("q", Text.Clean(Request.Query["q"])),
                ("sort", Text.Clean(Request.Query["sort"])),
                ("order", Text.Clean(Request.Query["order"])),
                ("page", Text.Clean(Request.Query["page"])),
            ]
        );

    public Task OnGetAsync() => LoadAsync();

    public Task<IActionResult> OnPostAddAsync(string? email, SecurityGroup group, string[] site)
    {
        (Email, Group, Chosen) = (email ?? "", group, [.. site]);
        return ShowAsync(async () =>
        {
            var added = await desk.AddAsync(
                Here.District,
                email,
                group,
                group >= SecurityGroup.LibraryAdministrator || site.Length == 0 ? null : string.Join(',', site),
                Here.Who!,
                Gone
            );
            (Email, Chosen) = ("", []);
            Renewed = added.Renewed;
            return (email!.Trim(), added.Code);
        });
    }

    public Task<IActionResult> OnPostResetAsync(long id) =>
        ShowAsync(async () =>
        {
            var code = await desk.ResetAsync(Here.District, id, Here.Who!, Gone);
            return ((await accounts.GetAsync(id, Gone))?.Email ?? "", code);
        });

    public Task<IActionResult> OnPostLockAsync(long id) =>
        DoAsync(() => desk.LockAsync(Here.District, id, Here.Who!, Gone), "The account is locked and signed out everywhere.");

    public Task<IActionResult> OnPostUnlockAsync(long id) =>
        DoAsync(() => desk.UnlockAsync(Here.District, id, Here.Who!, Gone), "The account can be signed in with again.");

    public Task<IActionResult> OnPostFactorAsync(long id) =>
        DoAsync(
            () => desk.DropSecondFactorAsync(Here.District, id, Here.Who!, Gone),
            "The second factor is taken away, and the account signed out everywhere. Make sure it was really its owner who asked."
        );

    public Task<IActionResult> OnPostEndAsync(long id) =>
        DoAsync(() => desk.EndSessionsAsync(Here.District, id, Here.Who!, Gone), "The account is signed out everywhere.");

    public Task<IActionResult> OnPostRemoveAsync(long id) =>
        DoAsync(() => desk.RemoveAsync(Here.District, id, Here.Who!, Gone), "The account has no place in this district any more.");

    private Task<IActionResult> DoAsync(Func<Task> act, string said) =>
        ActAsync(
            Address(),
            async () =>
            {
                await act();
                return said;
            }
        );

    private async Task<IActionResult> ShowAsync(Func<Task<(string For, string? Code)>> act)
    {
        try
        {
            var (name, code) = await act();
            if (code is null)
            {
                TempData["Said"] = $"{name} has a place in this district now, and signs in with the password it has.";
                return LocalRedirect(Address());
            }

            Link = (name, $"{(reach.PublicUrl?.ToString() ?? $"{Request.Scheme}://{Request.Host}").TrimEnd('/')}/link?code={code}");
        }
        catch (RollcallException e)
        {
            Problem = e.Message;
        }

        await LoadAsync();
        return Page();
    }

    private async Task LoadAsync()
    {
        var all = await accounts.ListAsync(DistrictId, Gone);
        Sessions = await desk.SessionsAsync(DistrictId, Gone);
        var query = Request.Query;
        Search = Text.Clean(query["q"]) is { } asked ? Text.Cut(asked, 200) : null;
        (Sort, Down) = (query["sort"].ToString() is "group" or "signed-in" ? query["sort"].ToString() : "email", query["order"] == "down");
        List<AccountRow> found =
        [
            .. all.Where(a => Words.Fits(Search, [a.Email, .. a.Memberships.Select(m => $"{PatronFields.GroupWord(m.Group)} {m.Sites}")]))
                .OrderBy(a =>
                    Sort switch
                    {
                        "group" => (int)a.Memberships[0].Group,
                        "signed-in" => Sessions.GetValueOrDefault(a.Id),
                        _ => 0,
                    }
                ),
        ];
        if (Down)
        {
            found.Reverse();
        }

        (All, Total) = (all.Count, found.Count);
        Number = PageWithin(int.TryParse(query["page"], CultureInfo.InvariantCulture, out var page) ? page : null, Size, Total);
        List = [.. found.Skip((Number - 1) * Size).Take(Size)];
        Sites = await sites.ListAsync(DistrictId, Gone);
    }
}
