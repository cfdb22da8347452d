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

    /// <summary>What became of what an account could do before; null where there is nothing to say.</summary>
    public string? Changed { get; private set; }

    /// <summary>The account that is changed; null where one is added.</summary>
    public AccountRow? Editing { get; private set; }

    /// <summary>What <see cref="Editing"/> could do when the form was opened, where that is not what it can do now.</summary>
    public (SecurityGroup Group, string? Sites)? Was { get; private set; }

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

    public async Task OnGetAsync(long? edit)
    {
        await LoadAsync(edit);
        if (Editing is { } account)
        {
            var (_, group, codes) = account.Memberships[0];
            (Email, Group, Chosen) = (account.Email, group, [.. Codes(codes)]);
        }
    }

    /// <summary>It is the visitor's own: another administrator changes it.</summary>
    public bool IsOwn(AccountRow account) => account.Id == Here.Who?.AccountId;

    /// <summary>A place in words: the group, and the sites where it has some of its own.</summary>
    public string PlaceOf(SecurityGroup group, string? codes) =>
        PatronFields.GroupWord(group) + (codes is null ? "" : $" at {NamesOf(Codes(codes))}");

    private string NamesOf(IEnumerable<string> codes) =>
        string.Join(", ", codes.Select(c => Sites.FirstOrDefault(s => string.Equals(s.Code, c, StringComparison.Ordinal))?.Name ?? c));

    private static string[] Codes(string? codes) => codes?.Split(',') ?? [];

    /// <param name="email">Whose account.</param>
    /// <param name="group">The group it is to have.</param>
    /// <param name="site">The sites it is to have.</param>
    /// <param name="edit">The account that is changed; null where one is added.</param>
    /// <param name="wasGroup">The group that it had when the form was opened.</param>
    /// <param name="wasSites">The sites that it had then.</param>
    public Task<IActionResult> OnPostAddAsync(
        string? email,
        SecurityGroup group,
        string[] site,
        long? edit,
        SecurityGroup? wasGroup,
        string? wasSites
    )
    {
        (Email, Group, Chosen) = (email ?? "", group, [.. site]);
        Was = wasGroup is { } had ? (had, wasSites) : null;
        return ShowAsync(
            edit,
            async () =>
            {
                Sites = await sites.ListAsync(DistrictId, Gone);
                if (group < SecurityGroup.LibraryAdministrator && site.Length == 0 && Sites.Count != 1)
                {
                    throw new RollcallException(
                        Sites.Count == 0
                            ? $"A {PatronFields.GroupWord(group)} works at sites, and there is none yet. Add one first."
                            : $"A {PatronFields.GroupWord(group)} works at sites: tick one at least."
                    );
                }

                var added = await desk.AddAsync(
                    Here.District,
                    email,
                    group,
                    group >= SecurityGroup.LibraryAdministrator || site.Length == 0 ? null : string.Join(',', site),
                    Here.Who!,
                    edit is { } id ? new ShownPlace(id, Was) : null,
                    Gone
                );
                Renewed = added.Renewed;
                Changed = added.Before is var (was, at)
                    ? ChangeOf(
                        was,
                        at,
                        group,
                        group >= SecurityGroup.LibraryAdministrator ? []
                            : site is [] ? [Sites[0].Code]
                            : site
                    )
                    : null;
                (Email, Chosen) = ("", []);
                return (email!.Trim(), added.Code);
            }
        );
    }

    /// <summary>What somebody may do who was here before: a typed address may be another one's than was thought.</summary>
    private string ChangeOf(SecurityGroup was, string? at, SecurityGroup group, string[] codes)
    {
        string[] before = Codes(at);
        var (gone, come) = (before.Except(codes, StringComparer.Ordinal).ToList(), codes.Except(before, StringComparer.Ordinal).ToList());
        var now = PlaceOf(group, codes.Length == 0 ? null : string.Join(',', codes));
        return was == group && gone.Count + come.Count == 0
            ? $"was {now} already: nothing was changed."
            : $"was {PlaceOf(was, at)} until now and is {now} from now on."
                + (gone.Count == 0 || group >= SecurityGroup.LibraryAdministrator ? "" : $" Taken away: {NamesOf(gone)}.")
                + (come.Count == 0 || before.Length == 0 ? "" : $" Given: {NamesOf(come)}.");
    }

    public Task<IActionResult> OnPostResetAsync(long id) =>
        ShowAsync(
            null,
            async () =>
            {
                var code = await desk.ResetAsync(Here.District, id, Here.Who!, Gone);
                return ((await accounts.GetAsync(id, Gone))?.Email ?? "", code);
            }
        );

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

    private async Task<IActionResult> ShowAsync(long? edit, Func<Task<(string For, string? Code)>> act)
    {
        try
        {
            var (name, code) = await act();
            if (code is null)
            {
                TempData["Said"] = Changed is null
                    ? $"{name} has a place in this district now, and signs in with the password it has."
                    : $"{name} {Changed}";
                return LocalRedirect(Address());
            }

            Link = (name, $"{(reach.PublicUrl?.ToString() ?? $"{Request.Scheme}://{Request.Host}").TrimEnd('/')}/link?code={code}");
        }
        catch (PlaceChangedException e)
        {
            // What it has by now is said: saved once more, that is what is changed.
            (Problem, Was) = (e.Message, null);
        }
        catch (RollcallException e)
        {
            Problem = e.Message;
        }

        await LoadAsync(Problem is null ? null : edit);
        return Page();
    }

    private async Task LoadAsync(long? edit)
    {
        var all = await accounts.ListAsync(DistrictId, Gone);
        Sites = await sites.ListAsync(DistrictId, Gone);
        Editing = edit is null ? null : all.FirstOrDefault(a => a.Id == edit && !IsOwn(a) && a.Memberships.Count > 0);
        Sessions = await desk.SessionsAsync(DistrictId, Gone);
        var query = Request.Query;
        Search = Text.Clean(query["q"]) is { } asked ? Text.Cut(asked, 200) : null;
        (Sort, Down) = (query["sort"].ToString() is "group" or "signed-in" ? query["sort"].ToString() : "email", query["order"] == "down");
        List<AccountRow> found =
        [
            .. all.Where(a => Words.Fits(Search, [a.Email, .. a.Memberships.Select(m => $"{PlaceOf(m.Group, m.Sites)} {m.Sites}")]))
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
    }
}
