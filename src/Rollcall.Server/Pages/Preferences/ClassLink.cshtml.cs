using Microsoft.AspNetCore.Mvc;
using Microsoft.Extensions.Caching.Memory;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.Patrons;
using Rollcall.Server.Commands;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages.Preferences;

/// <summary>The ClassLink page: a way in six steps until the first sync is done, tabs afterwards.</summary>
internal sealed class ClassLinkModel(
    Here here,
    IntegrationService integrations,
    SiteService sites,
    PatronService patrons,
    ReadinessService readiness,
    Reading reading,
    IMemoryCache cache
) : RollcallPage(here)
{
    private const IntegrationKind Kind = IntegrationKind.ClassLink;

    public static readonly IReadOnlyList<(string Tab, string Label)> Tabs =
    [
        ("settings", "Settings"),
        ("sites", "Site Mapping"),
        ("syncing", "Syncing"),
        ("readiness", "Readiness"),
        ("mapping", "Field Mapping"),
    ];

    public string Tab { get; private set; } = "settings";
    public bool Enabled { get; private set; }
    public IntegrationSettings Settings { get; private set; } = new();
    public bool Connected => Settings.Mode is not null;

    /// <summary>A full sync has been done with this roster: the way in is behind.</summary>
    public bool Settled { get; private set; }
    public bool AnyMatch { get; private set; }

    /// <summary>Why what was asked did not work; null when it did.</summary>
    public string? Problem { get; private set; }

    /// <summary>What was typed, for another try. Secrets are never shown again.</summary>
    public ConnectRequest Typed { get; private set; } = new(ConnectionMode.Proxy, null, null);

    /// <summary>What connecting as typed would clear; null when that was not asked for.</summary>
    public SwitchImpact? Impact { get; private set; }
    public IReadOnlyList<Site> Sites { get; private set; } = [];
    public IReadOnlyList<OrgMatch> Orgs { get; private set; } = [];
    public Readiness? Ready { get; private set; }
    public Patron? Example { get; private set; }
    public IReadOnlyDictionary<int, Site> SiteById { get; private set; } = new Dictionary<int, Site>();

    /// <summary>The steps in their order, and whether each is done.</summary>
    public IReadOnlyList<(string Tab, string Label, bool Done)> Steps =>
        [
            ("settings", "Connect", Connected),
            ("sites", "Match sites", AnyMatch),
            ("syncing", "Choose who", Settings.Roles.Count > 0),
            ("mapping", "Map fields", Settings.Map.CommunityId.Source != IdSource.NotMapped || Settled),
            ("start", "Preview and sync", Settled),
        ];

    public async Task<IActionResult> OnGetAsync(string? tab)
    {
        if (!Choose(tab))
        {
            return Missing("The ClassLink page has no such tab.");
        }

        await LoadAsync();
        return Page();
    }

    public async Task<IActionResult> OnPostConnectAsync(
        ConnectionMode mode,
        string? tenantId,
        string? url,
        string? key,
        string? secret,
        string? signature,
        string? clear
    )
    {
        Choose("settings");
        Typed = new ConnectRequest(
            mode,
            Text.Clean(tenantId),
            Text.Clean(url),
            mode == ConnectionMode.Direct ? Text.Clean(key) : null,
            mode == ConnectionMode.Proxy ? null : Text.Clean(secret),
            mode == ConnectionMode.Direct ? signature : null
        );
        Problem =
            mode is not (ConnectionMode.Proxy or ConnectionMode.Prefix or ConnectionMode.Direct) ? "Choose how to reach the roster."
            : mode != ConnectionMode.Proxy && Typed.Url is null
                ? "The address is missing. ClassLink shows it in Roster Server, at the application's API settings."
            : mode != ConnectionMode.Proxy && Typed.Secret is null
                ? "The secret is missing. It is never shown again, so it has to be typed each time the connection changes."
            : mode == ConnectionMode.Direct && Typed.Key is null ? "The key is missing. ClassLink shows it beside the secret."
            : null;
        if (Problem is null)
        {
            try
            {
                var impact = await integrations.ImpactOfConnectAsync(DistrictId, Kind, Typed, Gone);
                if (!impact.IsEmpty && clear != "yes")
                {
                    Impact = impact;
                }
                else
                {
                    // Pages answer on the installation's own machine alone: whoever is here is its operator.
                    var result = await integrations.ConnectAsync(
                        Here.District,
                        Kind,
                        Typed,
                        asOperator: Here.May(Need.Operator),
                        clear == "yes",
                        Here.Actor,
                        Gone
                    );
                    TempData["Said"] = result.Cleared is null
                        ? result.Message
                        : $"{result.Message} The links to the former roster are cleared; undo operation {result.Cleared} to bring them back.";
                    return LocalRedirect("/preferences/sis/classlink");
                }
            }
            catch (Exception e) when (e is RollcallException or RosterException)
            {
                Problem = e.Message;
            }
        }

        await LoadAsync();
        return Page();
    }

    public Task<IActionResult> OnPostTestAsync() =>
        ActAsync("/preferences/sis/classlink", async () => (await integrations.TestAsync(Here.District, Kind, Gone)).Message);

    public Task<IActionResult> OnPostMatchAsync(string? site, string? org) =>
        ActAsync(
            "/preferences/sis/classlink/sites",
            async () =>
            {
                if (string.IsNullOrEmpty(site) || string.IsNullOrEmpty(org))
                {
                    throw new RollcallException("Choose one site on the left and one organisation on the right, then Match.");
                }

                await integrations.MatchAsync(Here.District, Kind, site, org, Here.Actor, Gone);
                return $"Matched to site {site}.";
            }
        );

    public Task<IActionResult> OnPostSuggestedAsync() =>
        ActAsync(
            "/preferences/sis/classlink/sites",
            async () =>
            {
                var taken = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
                foreach (var org in await integrations.OrgsAsync(Here.District, Kind, Gone))
                {
                    if (org.SuggestedSite is { } site && taken.Add(site))
                    {
                        await integrations.MatchAsync(Here.District, Kind, site, org.SourcedId, Here.Actor, Gone);
                    }
                }

                return $"{Words.Count(taken.Count, "site was", "sites were")} matched as suggested.";
            }
        );

    public Task<IActionResult> OnPostUnmatchAsync(string org) =>
        ActAsync(
            "/preferences/sis/classlink/sites",
            async () =>
            {
                await integrations.UnmatchAsync(Here.District, Kind, org, Here.Actor, Gone);
                return "The match is undone. Nobody is changed by that until the next sync.";
            }
        );

    public Task<IActionResult> OnPostRolesAsync(RoleGroup[] roles) =>
        ActAsync(
            "/preferences/sis/classlink/syncing",
            async () =>
            {
                RoleGroup[] chosen =
                [
                    .. roles.Where(r => r is RoleGroup.Student or RoleGroup.Teacher or RoleGroup.Admin).Distinct().Order(),
                ];
                if (chosen.Length == 0)
                {
                    throw new RollcallException("Tick at least one: with nobody ticked no sync can run.");
                }

                var words = string.Join(", ", chosen.Select(RoleGroups.Label));
                await integrations.ConfigureAsync(DistrictId, Kind, Here.Actor, $"roles {words}", s => s with { Roles = chosen }, Gone);
                return $"Saved. Synced from now on: {words}.";
            }
        );

    public Task<IActionResult> OnPostMapAsync(string barcode, string communityId, string location) =>
        ActAsync(
            "/preferences/sis/classlink/mapping",
            async () =>
            {
                Func<FieldMap, FieldMap>[] changes;
                try
                {
                    changes =
                    [
                        MapArguments.Parse("barcode", barcode),
                        MapArguments.Parse("community-id", communityId),
                        MapArguments.Parse("location", location),
                    ];
                }
                catch (UsageException e)
                {
                    throw new RollcallException(e.Message);
                }

                await integrations.ConfigureAsync(
                    DistrictId,
                    Kind,
                    Here.Actor,
                    $"barcode {barcode}, community-id {communityId}, location {location}",
                    s => s with { Map = changes.Aggregate(s.Map, (map, change) => change(map)) },
                    Gone
                );
                return "Saved. The next sync is a full one and writes what the new mapping says.";
            }
        );

    public Task<IActionResult> OnPostReadAsync(string? tab) =>
        ActAsync(
            $"/preferences/sis/classlink/{(tab == "mapping" ? tab : "readiness")}",
            async () =>
            {
                var row = await integrations.FindAsync(DistrictId, Kind, Gone);
                cache.Set(Kept(row), await readiness.CheckAsync(Here.District, Kind, Gone), TimeSpan.FromMinutes(15));
                return "The roster has been read. Nothing was written.";
            }
        );

    /// <summary>Reading a whole roster takes its time: the answer is kept for a while, for one connection, its roles and its mapping.</summary>
    private (string, int, string?) Kept(Integration? row) => ("readiness", DistrictId, row?.Settings);

    /// <summary>What screens call the source of a field.</summary>
    public string SourceOf(int field) =>
        field switch
        {
            PatronFields.Guid => "sourcedId",
            PatronFields.Barcode => Id(Settings.Map.Barcode),
            PatronFields.CommunityId => Id(Settings.Map.CommunityId),
            PatronFields.FirstName => "givenName",
            PatronFields.MiddleName => "middleName",
            PatronFields.LastName => "familyName",
            PatronFields.Birthdate => "demographics.birthDate",
            PatronFields.Sex => "demographics.sex",
            PatronFields.Phone => "phone",
            PatronFields.Email => "email",
            PatronFields.AdditionalContact => "Names and phones of parents, guardians and relatives; students only",
            PatronFields.OtherEmails => "Emails of parents, guardians and relatives; students only",
            PatronFields.Location => Location(Settings.Map.Location),
            PatronFields.Level => "First of grades",
            PatronFields.Nickname => Settings.Map.NicknameFromPreferredName ? "preferredFirstName" : "Not Mapped",
            PatronFields.Site => "Site matched to the person's organisation",
            PatronFields.Status => "status: active is Active, tobedeleted is Transferred",
            _ => "",
        };

    public static string Id(IdMapping mapping) =>
        mapping.Source switch
        {
            IdSource.UserIdType => $"User ID of Type {mapping.Type}",
            IdSource.Identifier => "identifier",
            IdSource.Username => "username",
            _ => "Not Mapped",
        };

    public static string Location(LocationSource source) =>
        source switch
        {
            LocationSource.ClassCode => "Homeroom Class Code",
            LocationSource.ClassTitle => "Homeroom Class Title",
            LocationSource.ClassLocation => "Homeroom Class Location",
            LocationSource.TeacherName => "Homeroom Teacher Name",
            _ => "Not Mapped",
        };

    /// <summary>Sources that a field can take: those the roster was seen to have, and the present one.</summary>
    public IReadOnlyList<(string Value, string Label)> IdChoices(IdMapping now, bool typesOnly)
    {
        var choices = new List<(string Value, string Label)> { ("none", "Not Mapped") };
        if (!typesOnly)
        {
            choices.Add(("identifier", Seen("identifier", "identifier")));
            choices.Add(("username", Seen("username", "username")));
        }

        foreach (var key in (Ready?.Keys ?? []).Where(k => k.Source.StartsWith("user-id:", StringComparison.Ordinal)))
        {
            choices.Add((key.Source, Seen(key.Source, $"User ID of Type {key.Source["user-id:".Length..]}")));
        }

        if (choices.TrueForAll(c => c.Value != MapArguments.Word(now)))
        {
            choices.Add((MapArguments.Word(now), Id(now)));
        }

        return choices;

        string Seen(string source, string label) =>
            Ready?.Keys.FirstOrDefault(k => k.Source == source) is { } key
                ? $"{label} ({Words.Count(key.People, "person", "people")}, such as {key.Example})"
                : label;
    }

    private bool Choose(string? tab)
    {
        Tab = tab ?? "settings";
        return Tabs.Any(t => t.Tab == Tab);
    }

    private async Task LoadAsync()
    {
        var row = await integrations.FindAsync(DistrictId, Kind, Gone);
        Enabled = row?.Enabled == true;
        Settings = IntegrationService.SettingsOf(row);
        Settled = IntegrationService.StateOf(row).LastFullAt is not null;
        AnyMatch = (await reading.OrgsAsync(DistrictId, Kind, Gone)).Count > 0;
        Sites = await sites.ListAsync(DistrictId, Gone);
        SiteById = Sites.ToDictionary(s => s.Id);
        if (Problem is null && Impact is null)
        {
            Typed = new ConnectRequest(
                Settings.Mode ?? ConnectionMode.Proxy,
                Settings.TenantId,
                Settings.Url,
                Settings.Key,
                null,
                Settings.Signature
            );
        }

        try
        {
            if (Tab == "sites" && Connected)
            {
                Orgs = await integrations.OrgsAsync(Here.District, Kind, Gone);
            }

            Ready = cache.Get<Readiness>(Kept(row));
        }
        catch (Exception e) when (e is RollcallException or RosterException)
        {
            Problem = e.Message;
        }

        if (Tab == "mapping")
        {
            Example = (
                await patrons.PageAsync(DistrictId, new PatronFilter(), PatronSort.Updated, true, 1, 20, Gone)
            ).Patrons.FirstOrDefault(p => p.Guid is not null);
        }
    }
}
