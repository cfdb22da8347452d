using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages.Preferences;

/// <summary>Access tokens of programs: those there are, a new one, and their end.</summary>
internal sealed class TokensModel(Here here, AccessTokens tokens) : RollcallPage(here)
{
    public const int DefaultDays = 90;

    public const int Size = 50;

    /// <summary>More than these need a search.</summary>
    public const int Few = 12;

    /// <summary>Those of the page that is shown.</summary>
    public IReadOnlyList<AccessToken> List { get; private set; } = [];

    /// <summary>How many there are, whatever is searched for.</summary>
    public int All { get; private set; }
    public int Total { get; private set; }
    public int Number { get; private set; }
    public string? Search { get; private set; }
    public string Sort { get; private set; } = "made";
    public bool Down { get; private set; }

    /// <summary>A token that has just been made: shown once. Null otherwise.</summary>
    public (string Name, string Token)? Made { get; private set; }

    public string? Problem { get; private set; }
    public string Name { get; private set; } = "";
    public HashSet<string> Chosen { get; private set; } = [];
    public int Days { get; private set; } = DefaultDays;
    public SecurityGroup Group { get; private set; } = SecurityGroup.LibraryAdministrator;

    /// <summary>The scopes that a district's token can have.</summary>
    public static IEnumerable<(TokenScopes Scope, string Word, string Meaning)> Scopes =>
        AccessTokens.Words.Where(w => w.Scope != TokenScopes.Installation);

    /// <summary>The order that the address asks for; null where it asks for none.</summary>
    public (string Sort, string? Order)? Sorted =>
        Text.Clean(Request.Query["sort"]) is { } sort ? (Text.Cut(sort, 20), Request.Query["order"] == "down" ? "down" : null) : null;

    /// <summary>The present address with what is shown, and these values besides.</summary>
    public string Address(params (string Name, string? Value)[] more) =>
        Addresses.Of(
            "/preferences/tokens",
            [
                .. more,
                ("q", Text.Clean(Request.Query["q"])),
                ("sort", Text.Clean(Request.Query["sort"])),
                ("order", Text.Clean(Request.Query["order"])),
                ("page", Text.Clean(Request.Query["page"])),
            ]
        );

    public async Task OnGetAsync() => await LoadAsync();

    public async Task<IActionResult> OnPostCreateAsync(string? name, SecurityGroup group, string[] scope, int? days)
    {
        (Name, Chosen, Days, Group) = (name ?? "", [.. scope], days ?? DefaultDays, group);
        try
        {
            var scopes = AccessTokens.Parse(scope);
            Access.CheckUse(group, scopes);
            var (row, token) = await tokens.CreateAsync(
                Here.District,
                name,
                group,
                scopes,
                TimeSpan.FromDays(Math.Clamp(Days, 0, 10_000)),
                Here.Actor,
                Here.Who!.AccountId,
                Here.Grant!.PatronId,
                session: Here.Who.SessionId,
                cancellationToken: Gone
            );
            Made = (row.Name, token);
            (Name, Chosen, Days) = ("", [], DefaultDays);
        }
        catch (RollcallException e)
        {
            Problem = e.Message;
        }

        await LoadAsync();
        return Page();
    }

    public Task<IActionResult> OnPostRevokeAsync(long id) =>
        ActAsync(
            Address(),
            async () =>
            {
                return RevokedSentence("The token", await tokens.RevokeAsync(DistrictId, id, Here.Actor.Name, Gone));
            }
        );

    /// <summary>Says that a token is revoked, and which accounts stay for somebody to look at.</summary>
    internal static string RevokedSentence(string token, IReadOnlyList<string> accounts) =>
        $"{token} is revoked: it opens nothing any more."
        + (
            accounts.Count == 0
                ? ""
                : $" Accounts that it added or changed stay: {string.Join(", ", accounts)}. Lock or remove those that should not."
        );

    private IReadOnlyDictionary<long, (bool Opens, string Why)> Less { get; set; } = new Dictionary<long, (bool Opens, string Why)>();

    /// <summary>How a token stands, in a word or a few.</summary>
    public string Standing(AccessToken token) =>
        token.RevokedAt is not null ? "Revoked"
        : token.ExpiresAt <= Here.Now ? "Expired"
        : Less.TryGetValue(token.Id, out var less) ? less.Why
        : "Good";

    /// <summary>It can be revoked still: what opens nothing for a while may open something again.</summary>
    public bool CanRevoke(AccessToken token) => token.RevokedAt is null && token.ExpiresAt > Here.Now;

    private async Task LoadAsync()
    {
        var query = Request.Query;
        Search = Text.Clean(query["q"]) is { } asked ? Text.Cut(asked, 200) : null;

        // The newest first, unless something else is asked for.
        (Sort, Down) = query["sort"].ToString() is { Length: > 0 } sort
            ? (sort is "name" or "until" or "used" ? sort : "made", query["order"] == "down")
            : ("made", true);
        int? wanted = int.TryParse(query["page"], CultureInfo.InvariantCulture, out var page) ? page : null;
        All = await tokens.CountAsync(DistrictId, Gone);
        if (Search is null)
        {
            Total = All;
            Number = PageWithin(wanted, Size, Total);
            List = await tokens.PageAsync(DistrictId, Sort, Down, (Number - 1) * Size, Size, Gone);
        }
        else
        {
            // How words fit, whatever their accents, no database tells.
            List<AccessToken> found =
            [
                .. (await tokens.PageAsync(DistrictId, Sort, Down, 0, All, Gone)).Where(t => Words.Fits(Search, t.Name, t.CreatedBy)),
            ];
            Total = found.Count;
            Number = PageWithin(wanted, Size, Total);
            List = [.. found.Skip((Number - 1) * Size).Take(Size)];
        }

        Less = await tokens.LessAsync(List, Gone);
    }
}
