using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Commands;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;
using Rollcall.Sync.Person;

namespace Rollcall.Server.Pages.Preferences;

/// <summary>The page of one roster service: a way in until the first sync is done, tabs afterwards. The same parts serve every service.</summary>
// A district may have hundreds of schools, each with fields of its own in one form.
[RequestFormLimits(ValueCountLimit = 20_000)]
internal sealed class ServiceModel(
    Here here,
    IntegrationService integrations,
    DistrictService districts,
    TenantRequests requests,
    SiteService sites,
    PatronExplain explain,
    ReadinessService readiness,
    OperationQueue queue,
    Reading reading,
    ClassLinkSignIn signIn,
    Reach reach,
    TimeProvider time
) : RollcallPage(here)
{
    /// <summary>The tabs of this service.</summary>
    public IReadOnlyList<(string Tab, string Label)> Tabs =>
        Kind == IntegrationKind.ClassLink ? [.. s_tabs, ("signin", "Sign-in")] : s_tabs;

    private static readonly (string Tab, string Label)[] s_tabs =
    [
        ("settings", "Settings"),
        ("sites", "Site Mapping"),
        ("syncing", "Syncing"),
        ("mapping", "Field Mapping"),
        ("schedule", "Schedule"),
        ("holds", "Holds"),
        ("readiness", "Readiness"),
    ];

    /// <summary>The kinds of change that can be held, as forms and screens name them.</summary>
    public static readonly IReadOnlyList<(string Name, Risk Risk, string Label, string Help)> Kinds =
    [
        (
            "transfers",
            Risk.Transfers,
            "Leavers",
            "Patrons whom a sync would mark Transferred, out of those linked at the site who are not Transferred yet. All whom a sync could transfer at once is always held from three on."
        ),
        (
            "updates",
            Risk.Updates,
            "Changed last names, barcodes or Student #s",
            "Many of these at once usually mean that the roster mixes people up. Other updates are never held."
        ),
        (
            "creates",
            Risk.Creates,
            "New patrons with a known name",
            "New patrons whose first and last name an unlinked patron of the site has already: perhaps the same people, not recognised. The percentage is of all roster people there, the new ones among them."
        ),
    ];

    public static readonly IReadOnlyList<(FieldPolicy Policy, string Label)> Policies =
    [
        (FieldPolicy.RosterWins, "Roster wins"),
        (FieldPolicy.FillIfEmpty, "Fill if empty"),
        (FieldPolicy.LibraryKeeps, "Library keeps"),
    ];

    private static readonly IReadOnlyList<(FieldPolicy Policy, string Label)> s_statusPolicies =
    [
        (FieldPolicy.RosterWins, "Both: leavers and returns only"),
        (FieldPolicy.LibraryKeeps, "Library keeps"),
    ];

    /// <summary>Who can win a field.</summary>
    public static IReadOnlyList<(FieldPolicy Policy, string Label)> PoliciesOf(int field) =>
        field == PatronFields.Status ? s_statusPolicies : Policies;

    public static readonly IReadOnlyList<(SiteFrom From, string Label)> SiteSources =
    [
        (SiteFrom.FirstOrg, "The person's first organization"),
        (SiteFrom.FirstMatched, "Their first organization that is matched"),
        (SiteFrom.PrimaryOrg, "Their primary organization"),
    ];

    /// <summary>Time zones to choose from: America's first, where most districts are, and the present one.</summary>
    public static IEnumerable<string> Zones(string? now) =>
        TimeZoneInfo
            .GetSystemTimeZones()
            .Select(z => z.Id)
            .Where(z => z.Contains('/', StringComparison.Ordinal) && !z.StartsWith("Etc/", StringComparison.Ordinal))
            .Append("UTC")
            .Append(string.IsNullOrEmpty(now) ? "UTC" : now)
            .Distinct(StringComparer.Ordinal)
            .OrderBy(z => !z.StartsWith("America/", StringComparison.Ordinal) && !z.StartsWith("US/", StringComparison.Ordinal))
            .ThenBy(z => z, StringComparer.Ordinal);

    public IntegrationKind Kind { get; private set; }

    /// <summary>The beginning of this page's addresses.</summary>
    public string Base => "/preferences/sis/" + Slug(Kind);
    public string Name => Words.Service(Kind);
    public string Tab { get; private set; } = "settings";
    public bool Enabled { get; private set; }
    public IntegrationSettings Settings { get; private set; } = new();
    public IntegrationState State { get; private set; } = new();
    public bool Connected => Settings.Mode is not null;

    /// <summary>A full sync has been done with this roster: the way in is behind.</summary>
    public bool Settled => State.WasWritten;
    public bool AnyMatch { get; private set; }

    /// <summary>Why what was asked did not work; null when it did.</summary>
    public string? Problem { get; private set; }

    /// <summary>The tenant that waits for the operator to allow it; null when none does.</summary>
    public TenantRequest? Asked { get; private set; }

    /// <summary>ClassLink's proxy can be reached with the key of this installation; always so for a service that has no such key.</summary>
    public bool HasPartnerKey { get; private set; }

    /// <summary>The connection as typed, for another try. Secrets are never shown again.</summary>
    public ConnectRequest Connection { get; private set; } = new(ConnectionMode.Proxy, null, null);

    /// <summary>The applications to choose from, where the tenant shares its roster with several.</summary>
    public IReadOnlyList<(string Id, string Name)> Applications { get; private set; } = [];

    /// <summary>What connecting as typed would clear; null when that was not asked for.</summary>
    public SwitchImpact? Impact { get; private set; }

    /// <summary>That was agreed to, and something else was still to be said.</summary>
    public bool Agreed { get; private set; }

    /// <summary>Another application than the one that is read is to be chosen.</summary>
    public bool Another { get; private set; }

    /// <summary>Why no sync can run though the service is on, in short; null when one can.</summary>
    public string? Lacking => Sites.Count == 0 ? "Greyed: there is no site yet." : Hindrances.Of(Settings, AnyMatch)?.Short;
    public IReadOnlyList<Site> Sites { get; private set; } = [];
    public IReadOnlyList<OrgMatch> Orgs { get; private set; } = [];

    /// <summary>The roster's organizations could not be read: <see cref="Orgs"/> are those that are matched, as they were then.</summary>
    public bool Unread { get; private set; }

    /// <summary>Sites as typed for schools of the roster, when they could not be made.</summary>
    public IReadOnlyDictionary<string, (SiteOfOrg Site, bool Ticked)> TypedSites { get; private set; } =
        new Dictionary<string, (SiteOfOrg, bool)>();
    public string? Search { get; private set; }

    /// <summary>The site and the organization that were chosen before the lists were searched; null where none was.</summary>
    public string? ChosenSite { get; private set; }
    public string? ChosenOrg { get; private set; }

    /// <summary>Sign-ins of the last days from tenants that no district here lets in; 0 for those whom that does not concern.</summary>
    public int Strangers { get; private set; }
    public Readiness? Ready { get; private set; }

    /// <summary>The roster is being read for that, or waits for its turn; null when it is not.</summary>
    public Operation? Reading { get; private set; }

    /// <summary>It could not be read, a while ago; null when it could.</summary>
    public Operation? ReadFailed { get; private set; }

    /// <summary>How many of the linked people have a homeroom class, and of how many; null where no sync has looked.</summary>
    public (int With, int Of)? Homerooms { get; private set; }

    /// <summary>Somebody of the roster, read for whoever asked; null where nobody did, or where a linked patron is shown.</summary>
    public RosterExample? FromRoster { get; private set; }

    /// <summary>Barcode of the person whose values stand beside the mapping.</summary>
    public string? ExampleBarcode { get; private set; }
    public PatronExplanation? Example { get; private set; }
    public bool ExampleAsked { get; private set; }

    /// <summary>The way to the first sync; empty once it is behind.</summary>
    public IReadOnlyList<GuideStep> Steps { get; private set; } = [];

    /// <summary>What is left of the way once a full sync has been done; null where nothing is.</summary>
    public NightStep? Nights { get; private set; }

    public static string Slug(IntegrationKind kind) => IntegrationWords.Verb(kind);

    public async Task<IActionResult> OnGetAsync(
        string service,
        string? tab,
        string? q,
        string? example,
        string? ask,
        string? site,
        string? org
    )
    {
        if (!Choose(service, tab))
        {
            return Missing("There is no such page among the preferences of roster services.");
        }

        Search = Text.Clean(q);
        (ChosenSite, ChosenOrg) = (Text.Clean(site), Text.Clean(org));
        ExampleBarcode = Text.Clean(example);
        ExampleAsked = ask == "roster";
        await LoadAsync();
        return Page();
    }

    public async Task<IActionResult> OnPostConnectAsync(
        string service,
        ConnectionMode mode,
        string? tenantId,
        string? url,
        string? tokenUrl,
        string? key,
        string? secret,
        string? signature,
        string? version,
        string? clear,
        string? agreed,
        string? application = null,
        string? another = null
    )
    {
        if (!Choose(service, "settings"))
        {
            return NotFound();
        }

        var hasKey = mode is ConnectionMode.Direct or ConnectionMode.ClientCredentials;
        Connection = new ConnectRequest(
            mode,
            Kind == IntegrationKind.ClassLink ? Text.Clean(tenantId) : null,
            mode == ConnectionMode.Folder && Text.Clean(url) is { } folder && Path.IsPathFullyQualified(folder)
                ? Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))
                : Text.Clean(url),
            hasKey ? Text.Clean(key) : null,
            mode is ConnectionMode.Proxy or ConnectionMode.Folder ? null : Text.Clean(secret),
            mode == ConnectionMode.Direct ? Text.Clean(signature) : null
        )
        {
            ApplicationId = mode == ConnectionMode.Proxy ? Text.Clean(application) : null,
            ChooseAnew = mode == ConnectionMode.Proxy && another == "yes",
            TokenUrl = mode == ConnectionMode.ClientCredentials ? Text.Clean(tokenUrl) : null,
            Version =
                Kind != IntegrationKind.OneRoster ? null
                : version == "1.1" ? OneRoster.Rest.OneRosterVersion.V11
                : version == "1.2" ? OneRoster.Rest.OneRosterVersion.V12
                : null,
        };
        if (mode == ConnectionMode.Proxy && Connection.Url is { } left && await IsOfAnotherWayAsync(left))
        {
            Connection = Connection with { Url = null };
        }

        Another = Connection.ChooseAnew;
        Problem = Missing();
        if (Problem is null && await TryConnectAsync(clear == "yes", SwitchImpact.Parse(agreed)) is { } done)
        {
            return done;
        }

        await LoadAsync();
        return Page();
    }

    /// <summary>An address that the form kept of a connection by prefix or by key: nobody typed it for the proxy, and the partner key does not go
    /// there.</summary>
    private async Task<bool> IsOfAnotherWayAsync(string address) =>
        IntegrationService.SettingsOf(await integrations.FindAsync(DistrictId, Kind, Gone))
            is { Mode: not (null or ConnectionMode.Proxy), Url: { } stored }
        && string.Equals(address.TrimEnd('/'), stored.TrimEnd('/'), StringComparison.OrdinalIgnoreCase);

    /// <summary>What the form lacks, in words; null when nothing.</summary>
    private string? Missing()
    {
        var where =
            Kind == IntegrationKind.ClassLink
                ? "ClassLink shows it in Roster Server, at the application's API settings."
                : "Whoever runs the roster server gives it to you.";
        if (Kind == IntegrationKind.OneRosterCsv)
        {
            // Whoever may name a folder may have any file of this machine looked into.
            return !Here.May(Need.Operator)
                    ? "Only an operator of this installation chooses the folder: it lies on the server's own machine."
                : Connection.Url is not { } folder ? "The folder is missing. Name the one that the district's export fills."
                : !Path.IsPathFullyQualified(folder) ? "Write the folder with its whole path, from the root of the server's disk."
                : null;
        }

        return !Modes.Contains(Connection.Mode) ? "Choose how to reach the roster."
            : Connection.Mode != ConnectionMode.Proxy && Connection.Url is null ? $"The address is missing. {where}"
            : Connection.Mode == ConnectionMode.ClientCredentials && Connection.TokenUrl is null ? $"The token address is missing. {where}"
            : Connection.Mode is ConnectionMode.Direct or ConnectionMode.ClientCredentials && Connection.Key is null
                ? $"The key is missing. {where}"
            : Connection.Mode != ConnectionMode.Proxy && Connection.Secret is null
                ? "The secret is missing. It is never shown again, so it has to be typed each time the connection changes."
            : null;
    }

    /// <summary>The ways to reach this service.</summary>
    public IReadOnlyList<ConnectionMode> Modes =>
        Kind switch
        {
            IntegrationKind.ClassLink => [ConnectionMode.Proxy, ConnectionMode.Prefix, ConnectionMode.Direct],
            IntegrationKind.OneRoster => [ConnectionMode.ClientCredentials, ConnectionMode.Direct, ConnectionMode.Bearer],
            _ => [ConnectionMode.Folder],
        };

    /// <summary>The application by which ClassLink knows this installation; null when it does not.</summary>
    public ClassLinkClient? SignInClient { get; private set; }

    /// <summary>What has to be registered with ClassLink.</summary>
    public string RedirectUri => SignInCallbackModel.Address(reach, Request);

    public Task<IActionResult> OnPostSignInAsync(
        string service,
        string? on,
        string? byEmail,
        string? opened,
        string? wasOn,
        string? wasByEmail
    ) =>
        service != Slug(IntegrationKind.ClassLink)
            ? Task.FromResult<IActionResult>(NotFound())
            : TypeAsync(
                service,
                "signin",
                async () =>
                {
                    var stands = IntegrationService.SettingsOf(await integrations.FindAsync(DistrictId, Kind, Gone)).Login;
                    var login = (On: Chosen(on, wasOn, stands.On), ByEmail: Chosen(byEmail, wasByEmail, stands.ByEmail));
                    if (opened is not null && login == (stands.On, stands.ByEmail))
                    {
                        return "Everything is as it was: nothing was changed.";
                    }

                    await signIn.TurnAsync(DistrictId, login.On, login.ByEmail, Here.Actor.Name, Gone);
                    return login.On
                        ? $"Saved. People of this district may sign in with ClassLink{OnceOn(await integrations.FindAsync(DistrictId, Kind, Gone))}."
                        : "Saved. Nobody signs in with ClassLink; those who did are signed out.";

                    // What this window did not touch is another's to change.
                    bool Chosen(string? now, string? was, bool stand) =>
                        opened is not null && (now == "yes") == (was == "yes") ? stand : now == "yes";
                }
            );

    /// <summary>The application by which ClassLink knows the installation: the operator's matter.</summary>
    public Task<IActionResult> OnPostClientAsync(
        string service,
        string? clientId,
        string? clientSecret,
        string? tiles,
        string? wasClientId,
        string? wasTiles
    ) =>
        service != Slug(IntegrationKind.ClassLink)
            ? Task.FromResult<IActionResult>(NotFound())
            : TypeAsync(
                service,
                "signin",
                async () =>
                {
                    await signIn.StoreClientAsync(
                        clientId == wasClientId ? null : Text.Clean(clientId),
                        Text.Clean(clientSecret),
                        launchpad: null,
                        api: null,
                        tiles is null || tiles == wasTiles ? null : tiles == "accept",
                        Here.Actor.Name,
                        Gone
                    );
                    return "Saved. ClassLink's answer shows at the first sign-in.";
                }
            );

    public Task<IActionResult> OnPostTestAsync(string service) =>
        DoAsync(service, "settings", async () => (await integrations.TestAsync(Here.District, Kind, Gone)).Message);

    public Task<IActionResult> OnPostMatchAsync(string service, string? site, string? org) =>
        DoAsync(
            service,
            "sites",
            async () =>
            {
                if (string.IsNullOrEmpty(site) || string.IsNullOrEmpty(org))
                {
                    throw new RollcallException("Choose one site on the left and one organization on the right, then Match.");
                }

                await integrations.MatchAsync(Here.District, Kind, site, org, Here.Actor.Name, Gone);
                return $"Matched to site {site}.";
            }
        );

    /// <summary>Searches both lists. What is chosen in them goes along.</summary>
    public IActionResult OnPostFind(string service, string? q, string? site, string? org, string? all) =>
        Choose(service, "sites") ? LocalRedirect(SitesWith(all == "yes" ? null : q, site, org)) : NotFound();

    private static string One(string? org) => Text.Clean(org) ?? throw new RollcallException("Choose one organization of the list.");

    /// <summary>Site Mapping with what is searched for and chosen in it.</summary>
    private string SitesWith(string? q, string? site, string? org) =>
        Addresses.Of(
            $"{Base}/sites",
            ("q", Text.Clean(q) is { } asked ? Text.Cut(asked, 100) : null),
            ("site", Text.Clean(site)),
            ("org", Text.Clean(org))
        );

    public Task<IActionResult> OnPostSuggestedAsync(string service) =>
        DoAsync(
            service,
            "sites",
            async () =>
            {
                var count = await integrations.MatchSuggestedAsync(Here.District, Kind, Here.Actor.Name, Gone);
                return $"{Words.Count(count, "site was", "sites were")} matched as suggested.";
            }
        );

    /// <summary>Makes a site for each ticked school and matches the two. What was typed comes back where one of them cannot be made.</summary>
    public async Task<IActionResult> OnPostAddSitesAsync(string service, string[] b, string[] org, string?[] name, string?[] code)
    {
        if (!Choose(service, "sites"))
        {
            return NotFound();
        }

        var ticked = b.ToHashSet(StringComparer.Ordinal);
        TypedSites = org.Select(
                (id, i) => (new SiteOfOrg(id, code.ElementAtOrDefault(i), name.ElementAtOrDefault(i)), Ticked: ticked.Contains(id))
            )
            .DistinctBy(t => t.Item1.Org, StringComparer.Ordinal)
            .ToDictionary(t => t.Item1.Org, t => t, StringComparer.Ordinal);
        try
        {
            var added = await integrations.AddSitesAsync(
                Here.District,
                Kind,
                [.. TypedSites.Values.Where(t => t.Ticked).Select(t => t.Site)],
                Here.Actor.Name,
                Gone
            );
            TempData["Said"] =
                added.Count == 1
                    ? $"{added[0].Name} is added and matched. Its barcodes begin with {added[0].NextBarcode}; Sites changes that."
                    : $"{Words.Count(added.Count, "site", "sites")} are added and matched. The barcodes of each begin with its code; Sites changes that.";
            return LocalRedirect($"{Base}/sites");
        }
        catch (Exception e) when (e is RollcallException or RosterException)
        {
            Problem = e.Message;
        }

        await LoadAsync();
        return Page();
    }

    public Task<IActionResult> OnPostUnmatchAsync(string service, string org) =>
        DoAsync(
            service,
            "sites",
            async () =>
            {
                await integrations.UnmatchAsync(Here.District, Kind, org, Here.Actor.Name, Gone);
                return "The match is undone. Nobody is changed by that until the next sync.";
            }
        );

    /// <summary>The library does not serve an organization: what is left out on purpose is no warning.</summary>
    public async Task<IActionResult> OnPostNotServedAsync(string service, string? leave, string? q, string? site, string? org) =>
        Choose(service, "sites")
            ? await ActAsync(
                SitesWith(q, site, org == leave ? null : org),
                async () =>
                {
                    await integrations.SetServedAsync(Here.District, Kind, One(leave), served: false, Here.Actor.Name, Gone);
                    return "Marked as not served. Syncs warn of its people no more.";
                }
            )
            : NotFound();

    public async Task<IActionResult> OnPostServeAsync(string service, string? take, string? q, string? site, string? org) =>
        Choose(service, "sites")
            ? await ActAsync(
                SitesWith(q, site, org),
                async () =>
                {
                    await integrations.SetServedAsync(Here.District, Kind, One(take), served: true, Here.Actor.Name, Gone);
                    return "The organization is served again: match it to a site.";
                }
            )
            : NotFound();

    /// <summary>Who is synced. Groups that this window did not touch are another's to change, here and in the forms below.</summary>
    public Task<IActionResult> OnPostRolesAsync(string service, RoleGroup[] roles, RoleGroup[] was, string? opened) =>
        TypeAsync(
            service,
            "syncing",
            async () =>
            {
                if (roles.Length == 0)
                {
                    throw new RollcallException("Tick at least one: with nobody ticked no sync can run.");
                }

                var stands = IntegrationService.SettingsOf(await integrations.FindAsync(DistrictId, Kind, Gone)).Roles;
                var chosen = Chosen(stands);
                if (chosen.SequenceEqual(stands.Order()))
                {
                    return "Everything is as it was: nothing was changed.";
                }

                var words = string.Join(", ", chosen.Select(RoleGroups.Label));
                await ConfigureAsync($"roles {words}", s => s with { Roles = Chosen(s.Roles) });
                return $"Saved. Synced from now on: {words}.";

                RoleGroup[] Chosen(IReadOnlyCollection<RoleGroup> stand)
                {
                    RoleGroup[] left =
                    [
                        .. new[] { RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin }.Where(r =>
                            (opened is null && was.Length == 0) || roles.Contains(r) != was.Contains(r)
                                ? roles.Contains(r)
                                : stand.Contains(r)
                        ),
                    ];
                    return left.Length > 0
                        ? left
                        : throw new RollcallException(
                            "Another window has taken the others away, and nobody would be left. Tick at least one."
                        );
                }
            }
        );

    public Task<IActionResult> OnPostMapAsync(string service, string? barcode, string? communityId, string? location) =>
        TypeAsync(
            service,
            "mapping",
            async () =>
            {
                var form = await Request.ReadFormAsync(Gone);
                var wanted = new[]
                {
                    (Row: "barcode", Source: barcode, Was: form["was-barcode"].ToString()),
                    (Row: "community-id", Source: communityId, Was: form["was-communityId"].ToString()),
                    (Row: "location", Source: location, Was: form["was-location"].ToString()),
                }
                    .Where(w => !string.IsNullOrWhiteSpace(w.Source) && w.Source != w.Was)
                    .ToList();
                List<Func<FieldMap, FieldMap>> changes;
                try
                {
                    changes = wanted.ConvertAll(w => MapArguments.Parse(w.Row, w.Source!));
                }
                catch (UsageException e)
                {
                    throw new RollcallException(e.Message);
                }

                if (changes.Count == 0)
                {
                    return "Everything is as it was: nothing was changed.";
                }

                var map = changes.Aggregate(
                    IntegrationService.SettingsOf(await integrations.FindAsync(DistrictId, Kind, Gone)).Map,
                    (present, change) => change(present)
                );
                await ConfigureAsync(
                    string.Join(
                        "; ",
                        wanted
                            .Select(w => PatronFields.Find(w.Row)!)
                            .Select(f =>
                                $"{f.Label}: {(PatronExplain.SourceOf(f.Number, map) is { } source ? Words.Source(source) : "not mapped")}"
                            )
                    ),
                    s => s with { Map = changes.Aggregate(s.Map, (present, change) => change(present)) }
                );
                return "Saved. The next sync is a full one and writes what the new mapping says.";
            }
        );

    /// <summary>Who wins and what a blank does, for every field of the table; where the site comes from.</summary>
    public Task<IActionResult> OnPostRulesAsync(string service) =>
        TypeAsync(
            service,
            "mapping",
            async () =>
            {
                var form = await Request.ReadFormAsync(Gone);
                var now = IntegrationService.SettingsOf(await integrations.FindAsync(DistrictId, Kind, Gone));
                var changed = new List<string>();
                var wanted = new List<Func<IntegrationSettings, IntegrationSettings>>();
                foreach (var number in SettingsChange.FieldsWithPolicy)
                {
                    var name = PatronFields.ByNumber(number).Name;
                    var policy = Changed($"policy-{number}", MapArguments.Word(now.Map.PolicyOf(number)));
                    var blank = Changed($"blank-{number}", MapArguments.Word(now.Map.BlankOf(number)));
                    if (policy is not null || blank is not null)
                    {
                        string?[] parts =
                        [
                            policy switch
                            {
                                null => null,
                                "roster" => "the roster wins",
                                "fill" => "filled if empty",
                                _ => "the library keeps it",
                            },
                            blank switch
                            {
                                null => null,
                                "clear" => "a blank of the roster clears it",
                                _ => "a blank of the roster leaves it",
                            },
                        ];
                        changed.Add($"{PatronFields.ByNumber(number).Label}: {string.Join(", ", parts.OfType<string>())}");
                        wanted.Add(s => SettingsChange.Field(s, name, policy, blank));
                    }
                }

                if (Changed("siteFrom", MapArguments.Word(now.Map.SiteFrom)) is { } from)
                {
                    changed.Add($"site from {from}");
                    wanted.Add(s => SettingsChange.SiteFrom(s, from));
                }

                if (Changed("nickname", now.Map.NicknameFromPreferredName ? "yes" : "no") is { } nickname)
                {
                    changed.Add($"nickname {(nickname == "yes" ? "from the preferred first name" : "not mapped")}");
                    wanted.Add(s => s with { Map = s.Map with { NicknameFromPreferredName = nickname == "yes" } });
                }

                if (wanted.Count == 0)
                {
                    return "Everything is as it was: nothing was changed.";
                }

                await ConfigureAsync(string.Join("; ", changed), s => wanted.Aggregate(s, (settings, change) => change(settings)));
                return $"Saved: {Words.Count(wanted.Count, "rule", "rules")} changed. The next sync is a full one.";

                // What this window did not touch is another's to change: it may have been changed since this one was opened.
                string? Changed(string name, string stands) =>
                    form[name].ToString() is { Length: > 0 } value
                    && value != stands
                    && (form[$"was-{name}"].ToString() is not { Length: > 0 } was || value != was)
                        ? value
                        : null;
            }
        );

    private string OnceOn(Integration? row) => row is { Enabled: true } ? "" : $" once {Name} is on";

    public Task<IActionResult> OnPostGradesAsync(string service, string[] from, string[] to, string?[] was) =>
        TypeAsync(
            service,
            "mapping",
            async () =>
            {
                var pairs = from.Zip(to, (f, t) => (From: Text.Clean(f), To: Text.Clean(t)))
                    .Where((p, i) => i >= was.Length || p.To != Text.Clean(was[i]))
                    .ToList();
                if (pairs.Find(p => p.From is null && p.To is not null) is { To: { } lone })
                {
                    throw new RollcallException($"Say which grade of the roster becomes {lone}.");
                }

                if (pairs.TrueForAll(p => p.From is null))
                {
                    return "Everything is as it was: nothing was changed.";
                }

                await ConfigureAsync(
                    "grade translation",
                    s =>
                        pairs
                            .Where(p => p.From is not null)
                            .Aggregate(s, (settings, pair) => SettingsChange.Grade(settings, pair.From!, pair.To))
                );
                return "Saved. The next sync is a full one and writes the grades as translated.";
            }
        );

    public Task<IActionResult> OnPostReadAsync(string service, string? tab) =>
        DoAsync(
            service,
            tab == "mapping" ? tab : "readiness",
            async () =>
            {
                if (IntegrationService.SettingsOf(await integrations.FindAsync(DistrictId, Kind, Gone)).Mode is null)
                {
                    throw new RollcallException($"{Name} is not connected yet. Connect it first.");
                }

                var (_, isNew) = await queue.EnqueueAsync(
                    DistrictId,
                    OperationKind.Readiness,
                    Kind,
                    preview: false,
                    Here.Actor.Name,
                    cancellationToken: Gone
                );

                // That it is being read is said by the operation itself, and no longer than it lasts.
                return isNew ? "" : "The roster was being read already.";
            }
        );

    public Task<IActionResult> OnPostDailyAsync(
        string service,
        string? on,
        string? at,
        string? mode,
        string? zone,
        string? wasOn,
        string? wasAt,
        string? wasMode,
        string? wasZone
    ) =>
        TypeAsync(
            service,
            "schedule",
            async () =>
            {
                // The field of a browser may add seconds.
                var hour = Changed((at ?? "") is { Length: > 5 } typed ? typed[..5] : at ?? "", wasAt);
                var runs = Changed(on == "yes" ? "yes" : "no", wasOn);
                var what = Changed(mode, wasMode);
                var moved = Changed(Text.Clean(zone), wasZone) is { } chosen && chosen != Here.District.TimeZone ? chosen : null;
                if ((hour, runs, what, moved) is (null, null, null, null))
                {
                    return "Everything is as it was: nothing was changed.";
                }

                // What is refused changes nothing, the zone neither.
                var row = await integrations.FindAsync(DistrictId, Kind, Gone);
                var now = IntegrationService.SettingsOf(row);
                var word = Word(now);
                _ = SettingsChange.Daily(now, word, what, time.GetUtcNow());
                var picked = hour is null ? null : SettingsChange.Daily(now, hour, what, time.GetUtcNow()).Daily.At;
                if (moved is not null)
                {
                    await districts.SetTimeZoneAsync(Here.District, moved, Here.Actor.Name, Gone);
                }

                await ConfigureAsync(
                    $"daily {word}, {what ?? (now.Daily.ChangesOnly ? "changes" : "full")}",
                    s =>
                    {
                        var set = SettingsChange.Daily(s, Word(s), what, time.GetUtcNow());
                        return set.Daily.At is null && picked is not null ? set with { Daily = set.Daily with { Chosen = picked } } : set;
                    }
                );
                return word == "off"
                        ? $"Saved. Nothing runs by itself{(picked is null ? "" : $": {picked:HH\\:mm} is kept for when it does")}."
                    : now.Daily.StoppedBecause is null ? $"Saved. Daily Operations run at {word}{OnceOn(row)}."
                    : $"Saved. Daily Operations have stopped: nothing runs at {word} before they are resumed.";

                string Word(IntegrationSettings settings) =>
                    !(runs is null ? settings.Daily.At is not null : runs == "yes")
                        ? "off"
                        : hour ?? settings.Daily.At?.ToString("HH:mm", CultureInfo.InvariantCulture) ?? wasAt ?? "";

                static string? Changed(string? now, string? was) => string.IsNullOrEmpty(now) || now == was ? null : now;
            }
        );

    /// <summary>Somebody syncs by hand: nobody is reminded of the nights any more.</summary>
    public Task<IActionResult> OnPostAsideAsync(string service) =>
        DoAsync(
            service,
            "schedule",
            async () =>
            {
                TimeOnly? at = null;
                await ConfigureAsync(
                    "synced by hand",
                    s =>
                    {
                        // Somebody has chosen a time since the page was opened.
                        at = s.Daily.At;
                        return at is null ? s with { Daily = s.Daily with { ByHand = true } } : s;
                    }
                );
                return at is { } time
                    ? $"Daily Operations have been set to {time:HH\\:mm} meanwhile, and stay so. Turn them off here if nothing is to run by itself."
                    : "Nothing runs by itself. Whenever you want nights after all, choose a time here.";
            }
        );

    /// <summary>A date as people write it.</summary>
    public static string Day(DateOnly date) => date.ToString("MMMM d, yyyy", CultureInfo.InvariantCulture);

    public Task<IActionResult> OnPostPauseAsync(string service, string? from, string? to) =>
        TypeAsync(
            service,
            "schedule",
            async () =>
            {
                var pause = (Dates: new PauseDates(default, default), Joined: false);
                await ConfigureAsync($"pause {from} to {to}", s => SettingsChange.Pause(s, from ?? "", to ?? "", Here.Today, out pause));
                return $"No Daily Operations from {Day(pause.Dates.From)} to {Day(pause.Dates.To)}."
                    + (pause.Joined ? " The pauses that met are one now." : "");
            }
        );

    public Task<IActionResult> OnPostUnpauseAsync(string service, string? from, string? to) =>
        DoAsync(
            service,
            "schedule",
            async () =>
            {
                await ConfigureAsync($"no pause {from} to {to}", s => SettingsChange.Unpause(s, from ?? "", to ?? "", time.GetUtcNow()));
                return "The pause is taken away.";
            }
        );

    public Task<IActionResult> OnPostResumeAsync(string service) =>
        DoAsync(
            service,
            "schedule",
            async () =>
            {
                await ConfigureAsync("resume", s => SettingsChange.GoOn(s, time.GetUtcNow()));
                return "Daily Operations go on. What was missed is not caught up.";
            }
        );

    public Task<IActionResult> OnPostHoldsAsync(
        string service,
        string? site,
        string[] kind,
        string?[] percent,
        string?[] count,
        string?[] wasPercent,
        string?[] wasCount,
        string? own
    ) =>
        TypeAsync(
            service,
            "holds",
            async () =>
            {
                var at = string.IsNullOrEmpty(site)
                    ? null
                    : (await sites.ListAsync(DistrictId, Gone)).FirstOrDefault(s => s.Code == site)
                        ?? throw new RollcallException($"There is no site {site}.");
                if (own == "yes" && at is not null)
                {
                    return await GiveOwnNumbersAsync(at);
                }

                var wanted = kind.Select(
                        (name, i) =>
                            (
                                Name: name,
                                Percent: Number(Changed(percent.ElementAtOrDefault(i), wasPercent.ElementAtOrDefault(i))),
                                Count: Whole(Changed(count.ElementAtOrDefault(i), wasCount.ElementAtOrDefault(i)))
                            )
                    )
                    .Where(w => w.Percent is not null || w.Count is not null)
                    .ToList();
                if (wanted.Count == 0)
                {
                    return "Everything is as it was: nothing was changed.";
                }

                await ConfigureAsync(
                    $"thresholds{(at is null ? "" : $" at {at.Code}")}: {string.Join(", ", wanted.Select(w => $"{w.Name} {w.Percent}% {w.Count}"))}",
                    s => wanted.Aggregate(s, (settings, w) => SettingsChange.Threshold(settings, w.Name, w.Percent, w.Count, at?.Id))
                );
                return at is null ? "Saved for all sites that have no numbers of their own." : $"Saved for {at.Name}.";

                static string? Changed(string? now, string? was) => now == was ? null : now;
            }
        );

    /// <summary>A site begins with the numbers that the district has at that moment, whatever its window showed.</summary>
    private async Task<string> GiveOwnNumbersAsync(Site site)
    {
        var had = IntegrationService.SettingsOf(await integrations.FindAsync(DistrictId, Kind, Gone)).Thresholds.Sites.ContainsKey(site.Id);
        if (had)
        {
            return $"{site.Name} has numbers of its own already: they stay as they are.";
        }

        await ConfigureAsync(
            $"thresholds of its own for {site.Code}",
            s =>
                s.Thresholds.Sites.ContainsKey(site.Id)
                    ? s
                    : Kinds.Aggregate(
                        s,
                        (settings, k) =>
                            s.Thresholds.At(0, k.Risk) is var now
                                ? SettingsChange.Threshold(settings, k.Name, now.Percent, now.Count, site.Id)
                                : settings
                    )
        );
        return $"{site.Name} has numbers of its own now. They begin as those of all sites.";
    }

    public Task<IActionResult> OnPostForgetAsync(string service, int site) =>
        DoAsync(
            service,
            "holds",
            async () =>
            {
                await ConfigureAsync($"thresholds of site {site} taken away", s => SettingsChange.ForgetThresholds(s, site));
                return "The site follows the district's numbers again.";
            }
        );

    private IReadOnlyList<string> _gradeTable = [];

    /// <summary>Grades in the order of the Grade Table.</summary>
    public IReadOnlyList<Tally> InOrder(IReadOnlyList<Tally> grades)
    {
        var order = GradeTable.Sort(grades.Select(g => g.Value), _gradeTable).ToList();
        return [.. grades.OrderBy(g => order.IndexOf(g.Value))];
    }

    /// <summary>A value of the example person as screens say it: a site by its name.</summary>
    public string? Said(int field, string? value) =>
        field == PatronFields.Site ? Sites.FirstOrDefault(s => s.Code == value)?.Name ?? value : Words.Value(field, value);

    /// <summary>What screens call the source of a field.</summary>
    public string SourceOf(int field) => PatronExplain.SourceOf(field, Settings.Map) ?? "Not Mapped";

    public static string Id(IdMapping mapping) => PatronExplain.IdWords(mapping) is { } words ? Words.Capital(words) : "Not Mapped";

    public static string Location(LocationSource source) => PatronExplain.LocationWords(source) ?? "Not Mapped";

    /// <summary>Sources that a field can take: those the roster was seen to have, and the present one.</summary>
    public IReadOnlyList<(string Value, string Label)> IdChoices(IdMapping now, bool typesOnly)
    {
        var choices = new List<(string Value, string Label)> { ("none", "Not Mapped") };
        if (!typesOnly)
        {
            choices.Add(("identifier", Seen("identifier", "Identifier")));
            choices.Add(("username", Seen("username", "Username")));
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
                ? $"{label} ({Words.Count(key.People, "person", "people")}, such as {key.Example}{Equal(key)})"
                : label;

        // What Readiness found is what the choice is made by.
        string Equal(ReadinessKey key) =>
            typesOnly && key.Barcodes > 0 ? $"; {Words.Count(key.Barcodes)} equal a barcode here"
            : !typesOnly && key.StudentNumbers > 0 ? $"; {Words.Count(key.StudentNumbers)} equal a Student # here"
            : "";
    }

    /// <summary>A line of the form of grades.</summary>
    /// <param name="From">As the roster writes it; null for a line that is to be filled in.</param>
    /// <param name="Was">Its translation when the page was opened.</param>
    /// <param name="To">Its translation as the field shows it.</param>
    /// <param name="People">How many have it; null where the roster was not read.</param>
    internal sealed record GradeLine(string? From, string? Was, string? To, int? People);

    /// <summary>The form of grades: as it was typed where that was refused, with a free line at the end.</summary>
    public IReadOnlyList<GradeLine> GradeLines =>
        AllTyped("Grades", "from") is { } from
            ? [.. from.Select((f, i) => new GradeLine(f, Typed("Grades", "was", null, i), Typed("Grades", "to", null, i), People(f ?? "")))]
            : [.. Grades.Select(g => new GradeLine(g.From, g.To, g.To, g.People)), new GradeLine(null, null, null, null)];

    /// <summary>Grades with their translation: those that are set, then those the roster was seen to have.</summary>
    private IReadOnlyList<(string From, string? To, int? People)> Grades
    {
        get
        {
            var all = Settings
                .Map.Grades.Select(g => (From: g.Key, To: (string?)g.Value, People: People(g.Key)))
                .Concat(
                    (Ready?.Grades ?? [])
                        .Where(t => t.Value != ReadinessService.NoGrade && !Settings.Map.Grades.ContainsKey(t.Value))
                        .Select(t => (From: t.Value, To: (string?)null, People: (int?)t.Count))
                )
                .ToLookup(g => g.From, StringComparer.Ordinal);
            return [.. GradeTable.Sort(all.Select(g => g.Key), []).SelectMany(g => all[g])];
        }
    }

    private int? People(string grade) => Ready?.Grades.FirstOrDefault(t => t.Value == grade)?.Count;

    /// <summary>When Daily Operations run next, where the district is; null when they do not.</summary>
    public DateTime? NextRun { get; private set; }

    private Task ConfigureAsync(string what, Func<IntegrationSettings, IntegrationSettings> change) =>
        integrations.ConfigureAsync(DistrictId, Kind, Here.Actor.Name, what, change, Gone);

    /// <summary>Connects as typed.</summary>
    /// <returns>Where to go next; null when it did not work, or when somebody has to agree to what is cleared first.</returns>
    private async Task<IActionResult?> TryConnectAsync(bool clear, SwitchImpact? agreed)
    {
        SwitchImpact? impact = null;
        try
        {
            impact = await integrations.ImpactOfConnectAsync(DistrictId, Kind, Connection, Gone);
            if (!impact.IsEmpty && (!clear || (agreed is not null && impact.Exceeds(agreed))))
            {
                Impact = impact;
                return null;
            }

            var result = await integrations.ConnectAsync(
                Here.District,
                Kind,
                Connection,
                asOperator: Here.May(Need.Operator),
                clear,
                Here.Actor.Name,
                agreed,
                Gone
            );
            TempData["Said"] = result.Cleared is null
                ? result.Message
                : $"{result.Message} The {(impact.IsOfPeople ? "links" : "matches")} to the former roster are cleared; undo operation {result.Cleared} to bring them back.";
            return LocalRedirect(Base);
        }
        catch (ApplicationChoiceException e)
        {
            Applications = e.Choices;

            // What was agreed to stays agreed to: it would be asked for again otherwise, and the choice be gone by then.
            (Impact, Agreed) = impact is { IsEmpty: false } ? (impact, clear) : (null, false);
            Problem = e.IsGone
                ? "The application that was chosen shares the district's roster no more. Choose another one below, then save again."
                : "The district shares its roster with several applications of this installation's partner. Choose one below, then save again.";
            return null;
        }
        catch (Exception e) when (e is RollcallException or RosterException)
        {
            Problem = e.Message;
            return null;
        }
    }

    private async Task<IActionResult> DoAsync(string service, string tab, Func<Task<string>> act) =>
        Choose(service, tab) ? await ActAsync($"{Base}/{tab}", act) : NotFound();

    /// <summary>The same for a form that is typed into: refused, it comes back as it was typed.</summary>
    private async Task<IActionResult> TypeAsync(string service, string tab, Func<Task<string>> act) =>
        Choose(service, tab) ? await SaveAsync($"{Base}/{tab}", LoadAsync, act) : NotFound();

    private bool Choose(string service, string? tab)
    {
        Tab = tab ?? "settings";
        foreach (var kind in Enum.GetValues<IntegrationKind>())
        {
            if (Slug(kind) == service)
            {
                Kind = kind;
                return Tabs.Any(t => t.Tab == Tab);
            }
        }

        return false;
    }

    private static double? Number(string? text) =>
        string.IsNullOrWhiteSpace(text) ? null
        : double.TryParse(text.Trim().TrimEnd('%'), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) ? number
        : throw new RollcallException($"'{Text.Cut(text, 20)}' is no number of percent. Write it like 10 or 2.5.");

    private static int? Whole(string? text) =>
        string.IsNullOrWhiteSpace(text) ? null
        : int.TryParse(text.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
        : throw new RollcallException($"'{Text.Cut(text, 20)}' is no number of people. Write it like 10.");

    private async Task<IReadOnlyList<OrgMatch>> OrgsAsync()
    {
        try
        {
            return await integrations.OrgsAsync(Here.District, Kind, Gone);
        }
        catch (Exception e) when (e is RollcallException or RosterException)
        {
            // A match can be undone without the roster.
            Problem ??= e.Message;
            Unread = true;
            var codes = Sites.ToDictionary(s => s.Id, s => s.Code);
            return
            [
                .. (await reading.OrgsAsync(DistrictId, Kind, Gone)).SelectMany(s =>
                    s.Select(o => new OrgMatch(o.OrgId, o.OrgName, o.OrgType, codes.GetValueOrDefault(o.SiteId), null))
                ),
            ];
        }
    }

    private async Task LoadAsync()
    {
        Asked = Kind == IntegrationKind.ClassLink && Tab == "settings" ? await requests.FindAsync(DistrictId, Gone) : null;
        var row = await integrations.FindAsync(DistrictId, Kind, Gone);
        Enabled = row?.Enabled == true;
        Settings = IntegrationService.SettingsOf(row);
        State = IntegrationService.StateOf(row);
        AnyMatch = (await reading.OrgsAsync(DistrictId, Kind, Gone)).Count > 0;
        Sites = await sites.ListAsync(DistrictId, Gone);
        _gradeTable = Tab == "readiness" ? await reading.GradeTableAsync(DistrictId, Gone) : [];
        Steps = Settled
            ? []
            : Guide.Of(
                Kind,
                row,
                Sites.Count,
                (await reading.PatronCountsAsync(DistrictId, moving: false, Gone)).Sum(c => c.Count),
                AnyMatch
            );
        Nights = Guide.Nights(row);
        HasPartnerKey = Kind != IntegrationKind.ClassLink || await integrations.HasPartnerKeyAsync(Gone);
        if (Problem is null && Impact is null)
        {
            Connection = new ConnectRequest(
                Settings.Mode ?? (HasPartnerKey ? Modes[0] : Modes[^1]),
                Settings.TenantId,
                Settings.Url,
                Settings.Key,
                null,
                Settings.Signature
            )
            {
                TokenUrl = Settings.TokenUrl,
                Version =
                    Settings.Version == "1.1" ? OneRoster.Rest.OneRosterVersion.V11
                    : Settings.Version == "1.2" ? OneRoster.Rest.OneRosterVersion.V12
                    : null,
            };
        }

        try
        {
            if (Tab == "sites" && Connected)
            {
                Orgs = await OrgsAsync();
            }

            NextRun = Tab == "schedule" && Enabled ? await reading.NextRunAsync(Here, Settings.Daily, Gone) : null;
            Strangers = Tab == "signin" && Here.May(Need.Operator) ? await signIn.StrangersAsync(time.GetUtcNow().AddDays(-7), Gone) : 0;
            SignInClient = Tab == "signin" ? await signIn.ClientAsync(Gone) : null;
            Ready = readiness.KeptOf(row);
            if (Tab is "readiness" or "mapping")
            {
                var last = (await queue.OfKindAsync(DistrictId, OperationKind.Readiness, 10, Gone)).FirstOrDefault(o =>
                    o.Integration == Kind
                );
                Reading = last is { Status: OperationStatus.Waiting or OperationStatus.Running } ? last : null;
                ReadFailed =
                    last is { Status: OperationStatus.Failed, FinishedAt: { } at } && time.GetUtcNow() - at < ReadinessService.Kept
                        ? last
                        : null;
            }

            if (Tab == "mapping")
            {
                Homerooms = Settings.Map.Location == LocationSource.NotMapped ? null : await reading.HomeroomsAsync(DistrictId, Gone);
                ExampleBarcode ??= Enabled ? await reading.NewestLinkedAsync(DistrictId, Gone) : null;
                if (Enabled && ExampleBarcode is { } barcode)
                {
                    Example = await explain.ExplainAsync(Here.District, barcode, ExampleAsked, Gone);
                }
                else if (Connected && ExampleAsked)
                {
                    FromRoster = await explain.SomebodyAsync(Here.District, Kind, Gone);
                }
            }
        }
        catch (Exception e) when (e is RollcallException or RosterException)
        {
            // What was asked and refused comes first; the roster may be unreachable for both.
            Problem ??= e.Message;
        }
    }
}
