using System.CommandLine;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sync;

namespace Rollcall.Server.Commands;

/// <summary>The verbs of a roster service. One tree serves every kind; only connecting differs.</summary>
internal static class IntegrationCommands
{
    private sealed record Connected(string Mode, string? TenantId, string? DistrictName, bool Confirmed, string Message, long? Cleared);

    private sealed record OrgRow(
        string SourcedId,
        string? Name,
        string? Type,
        string? Site,
        string? SuggestedSite,
        string? ProposedCode,
        bool NotServed
    );

    private sealed record AddedSite(string Site, string Name, string Org, string NextBarcode);

    private sealed record Matched(string Site, string Org);

    private sealed record Unmatched(string Org);

    private sealed record OrgServed(string Org, bool Served);

    public static Command Build(Terminal terminal, IntegrationKind kind)
    {
        var command = new Command(
            IntegrationWords.Verb(kind),
            $"The district's {IntegrationWords.Name(kind)} roster: connection, site mapping, field mapping"
        )
        {
            kind switch
            {
                IntegrationKind.OneRoster => OneRosterConnectCommand.Build(terminal),
                IntegrationKind.OneRosterCsv => OneRosterCsvCommands.Connect(terminal),
                _ => ClassLinkConnect(terminal, kind),
            },
            On(terminal, kind),
            Off(terminal, kind),
            Show(terminal, kind),
            Test(terminal, kind),
            Orgs(terminal, kind),
            ProbeCommand.Build(terminal, kind),
            Readiness(terminal, kind),
            AddSites(terminal, kind),
            Match(terminal, kind),
            Unmatch(terminal, kind),
            NotServed(terminal, kind),
            Roles(terminal, kind),
            Map(terminal, kind),
            SiteFromOrg(terminal, kind),
            Grade(terminal, kind),
            Field(terminal, kind),
            ThresholdOf(terminal, kind),
            Schedule(terminal, kind),
        };
        if (kind == IntegrationKind.OneRosterCsv)
        {
            command.Add(OneRosterCsvCommands.Check(terminal));
        }

        if (kind == IntegrationKind.ClassLink)
        {
            command.Add(LoginCommand.Build(terminal));
        }

        return command;
    }

    private static Command ClassLinkConnect(Terminal terminal, IntegrationKind kind)
    {
        var tenant = new Option<string>("--tenant-id")
        {
            Description = "ClassLink's number of the district",
            HelpName = "N",
            Required = true,
        };
        var proxy = new Option<string?>("--proxy")
        {
            Description = "By ClassLink's proxy at this address, with the installation's partner key",
            HelpName = "URL",
        };
        var partner = new FileOption("--partner-key-file")
        {
            Description = "Stores the partner key too, as 'rollcall operator partner-key' does, when ClassLink accepts it",
            HelpName = "F",
        };
        var application = new Option<string?>("--application")
        {
            Description =
                "Which application of the partner, where the tenant shares its roster with several: its id, as connecting names it",
            HelpName = "ID",
        };
        var direct = new Option<string?>("--direct") { Description = "Directly, with OAuth 1.0a", HelpName = "URL" };
        var key = new Option<string?>("--key") { Description = "The consumer key of direct access", HelpName = "K" };
        var secret = new FileOption("--secret-file") { Description = "A file with the consumer secret alone", HelpName = "F" };
        var signature = new Option<string?>("--signature")
        {
            Description = "HMAC-SHA256 (without being told) or HMAC-SHA1",
            HelpName = "METHOD",
        };
        signature.AcceptOnlyFromAmong("HMAC-SHA256", "HMAC-SHA1");
        var prefix = new Option<string?>("--prefix")
        {
            Description = "By the proxy, with an address that ClassLink gave to the district",
            HelpName = "URL",
        };
        var token = new FileOption("--token-file") { Description = "A file with the token of that address alone", HelpName = "F" };
        var yes = Yes();
        var command = new Command("connect", "Check a connection and store it; nothing is stored when it is refused")
        {
            tenant,
            proxy,
            partner,
            application,
            direct,
            key,
            secret,
            signature,
            prefix,
            token,
            yes,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                string? Given(Option<string?> option) => GlobalOptions.Given(result.GetValue(option));
                var ways = new[] { proxy, direct, prefix }.Where(o => Given(o) is not null).ToList();
                if (ways.Count != 1 && !(ways.Count == 0 && Given(partner) is not null))
                {
                    throw new UsageException(
                        "Say how to connect, in one way: --proxy URL --partner-key-file F, or --direct URL --key K --secret-file F, or --prefix URL --token-file F."
                    );
                }

                var way = ways.Count == 0 ? proxy : ways[0];
                Option<string?>[] own =
                    way == proxy ? [partner, application]
                    : way == direct ? [key, secret, signature]
                    : [token];
                Option<string?>[] needed =
                    way == proxy ? []
                    : way == direct ? [key, secret]
                    : [token];
                var stray = new[] { partner, application, key, secret, signature, token }.FirstOrDefault(o =>
                    Given(o) is not null && !own.Contains(o)
                );
                if (stray is not null)
                {
                    throw new UsageException($"{stray.Name} does not belong to {way.Name}.");
                }

                if (needed.FirstOrDefault(o => Given(o) is null) is { } missing)
                {
                    throw new UsageException($"{way.Name} needs {missing.Name} {missing.HelpName} too.");
                }

                if (!OneRoster.ClassLink.TenantId.TryParse(result.GetRequiredValue(tenant), out _))
                {
                    throw new UsageException(
                        "A Tenant ID is a number of up to ten digits. It stands at the bottom left of every Roster Server page."
                    );
                }

                // Files are read before anything is opened: a wrong path is told at once.
                var partnerKey = Given(partner) is { } path
                    ? await Arguments.SecretAsync(terminal.Files, path, "partner key", cancellationToken)
                    : null;
                var request = new ConnectRequest(
                    way == proxy ? ConnectionMode.Proxy
                        : way == direct ? ConnectionMode.Direct
                        : ConnectionMode.Prefix,
                    result.GetRequiredValue(tenant),
                    Given(way),
                    Given(key),
                    way == direct ? await Arguments.SecretAsync(terminal.Files, Given(secret)!, "secret", cancellationToken)
                        : way == prefix ? await Arguments.SecretAsync(terminal.Files, Given(token)!, "token", cancellationToken)
                        : null,
                    way == direct ? Given(signature) ?? "HMAC-SHA256" : null,
                    partnerKey
                )
                {
                    ApplicationId = Given(application),
                };
                await ConnectAsync(result, terminal, kind, request, result.GetValue(yes), cancellationToken);
            }
        );
        return command;
    }

    /// <summary>Checks and stores a connection, and says what came of it.</summary>
    internal static async Task ConnectAsync(
        ParseResult result,
        Terminal terminal,
        IntegrationKind kind,
        ConnectRequest request,
        bool clear,
        CancellationToken cancellationToken
    )
    {
        await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
        var district = await session.DistrictAsync(cancellationToken);
        if (request.PartnerKey is not null)
        {
            session.RefuseHere(
                "--partner-key-file",
                "The partner key is the installation's: its operator stores it there. Connect with --proxy URL alone."
            );
        }

        var integrations = session.Get<IntegrationService>();
        var connected = await integrations.ConnectAsync(
            district,
            kind,
            request,
            asOperator: !session.IsRemote,
            clear,
            session.Actor.Name,
            cancellationToken: cancellationToken
        );
        await WriteConnectedAsync(terminal, session, connected);
        if (!session.Json && (await integrations.FindAsync(district.Id, kind, cancellationToken)) is { Enabled: false })
        {
            await terminal.Out.WriteLineAsync($"It is off until 'rollcall {IntegrationWords.Verb(kind)} on'.");
        }
    }

    private static Command On(Terminal terminal, IntegrationKind kind)
    {
        var yes = Yes();
        var command = new Command("on", "Turn it on, and every other roster service off") { yes };
        long? cleared = null;
        command.SetAction(
            (result, cancellationToken) =>
                ChangeAsync(
                    result,
                    terminal,
                    kind,
                    async (session, district) =>
                        cleared = await session
                            .Get<IntegrationService>()
                            .TurnOnAsync(district.Id, kind, result.GetValue(yes), session.Actor.Name, cancellationToken: cancellationToken),
                    _ =>
                        cleared is { } operation
                            ? $"{IntegrationWords.Name(kind)} is on. {Cleared(operation)}"
                            : $"{IntegrationWords.Name(kind)} is on.",
                    cancellationToken,
                    view => new TurnedOnView(view, cleared)
                )
        );
        return command;
    }

    private static Command Off(Terminal terminal, IntegrationKind kind)
    {
        var command = new Command("off", "Turn it off: syncs stop, identifiers stay");
        command.SetAction(
            (result, cancellationToken) =>
                ChangeAsync(
                    result,
                    terminal,
                    kind,
                    (session, district) =>
                        session.Get<IntegrationService>().TurnOffAsync(district.Id, kind, session.Actor.Name, cancellationToken),
                    _ => $"{IntegrationWords.Name(kind)} is off. Identifiers stay, so it can be turned on again.",
                    cancellationToken
                )
        );
        return command;
    }

    private static Command Show(Terminal terminal, IntegrationKind kind)
    {
        var command = new Command("show", "Show the settings, secrets aside");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var view = IntegrationView.Of(
                    kind,
                    await session.Get<IntegrationService>().FindAsync(district.Id, kind, cancellationToken),
                    (await session.SitesAsync(district, cancellationToken)).Values
                );
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, view);
                    return;
                }

                terminal.WritePairs([
                    (IntegrationWords.Name(kind), view.Enabled ? "on" : "off"),
                    (
                        "Connection",
                        view.Mode is null
                            ? "none"
                            : $"{view.Mode}{(view.Url is null ? "" : $", {view.Url}")}{(view.Version is null ? "" : $", OneRoster {view.Version}")}"
                    ),
                    ("Tenant", view.TenantId is null ? "" : $"{view.TenantId} {view.DistrictName}".TrimEnd()),
                    .. view.Application is { } application ? [("Application", (string?)application)] : Array.Empty<(string, string?)>(),
                    ("Roles", view.Roles.Count == 0 ? "nobody" : string.Join(", ", view.Roles)),
                    ("Barcode from", view.Map["barcode"]),
                    ("Student # from", view.Map["communityId"]),
                    ("Homeroom from", view.Map["location"]),
                    ("Site from", view.SiteFrom),
                    ("Grades", string.Join(", ", view.Grades.Select(g => $"{g.Key} → {g.Value}"))),
                    .. view.Thresholds.Select(t =>
                        ($"Hold {Kinds(t.Key)}", (string?)$"from {t.Value.Count} people and above {t.Value.Percent} %")
                    ),
                    .. view.SiteThresholds.SelectMany(s =>
                        s.Value.Where(t => t.Value != view.Thresholds[t.Key])
                            .Select(t => ($"  at {s.Key}, {t.Key}", (string?)$"from {t.Value.Count} people and above {t.Value.Percent} %"))
                    ),
                    ("Last full sync", OperationText.When(view.LastFullAt, district)),
                ]);
                await terminal.Out.WriteLineAsync();
                terminal.WriteTable(
                    ["Field", "Who wins", "A blank"],
                    view.Fields.Select(f => (string?[])[f.Key, f.Value.Policy, f.Value.Blank + "s"])
                );
            }
        );
        return command;
    }

    private static Command Test(Terminal terminal, IntegrationKind kind)
    {
        var command = new Command("test", "Try the stored connection");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                await WriteConnectedAsync(
                    terminal,
                    session,
                    await session.Get<IntegrationService>().TestAsync(district, kind, cancellationToken)
                );
            }
        );
        return command;
    }

    private static Command Orgs(Terminal terminal, IntegrationKind kind)
    {
        var command = new Command("orgs", "Show the roster's organizations and the sites they are matched to");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var orgs = await session.Get<IntegrationService>().OrgsAsync(district, kind, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(
                        terminal,
                        orgs.Select(o => new OrgRow(o.SourcedId, o.Name, o.Type, o.SiteCode, o.SuggestedSite, o.ProposedCode, o.NotServed)),
                        cancellationToken
                    );
                    return;
                }

                terminal.WriteTable(
                    ["sourcedId", "Name", "Type", "Site"],
                    orgs.Select(o =>
                        (string?[])
                            [
                                o.SourcedId,
                                o.Name,
                                o.Type,
                                o.SiteCode
                                    ?? (
                                        o.NotServed ? "(not served)"
                                        : o.SuggestedSite is null ? ""
                                        : $"(perhaps {o.SuggestedSite})"
                                    ),
                            ]
                    )
                );
                if (orgs.Count(o => o.ProposedCode is not null) is var lacking and > 0)
                {
                    await terminal.Out.WriteLineAsync(
                        $"{OperationText.N(lacking)} {(lacking == 1 ? "school has" : "schools have")} no site: 'rollcall {IntegrationWords.Verb(kind)} add-sites --all' adds one for each."
                    );
                }
            }
        );
        return command;
    }

    private static Command Readiness(Terminal terminal, IntegrationKind kind)
    {
        var command = new Command("readiness", "Count what a first sync would meet; writes nothing");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var ready = await session.Get<ReadinessService>().CheckAsync(district, kind, cancellationToken: cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, ready);
                    return;
                }

                static string N(int number) => OperationText.N(number);
                terminal.WriteTable(
                    ["", "Library", "Roster"],
                    [
                        ["People", N(ready.Patrons), N(ready.RosterPeople)],
                        .. ready.RosterByRole.Select(r => (string?[])[$"  {r.Key}s", "", N(r.Value)]),
                        ["With Student #", N(ready.PatronsWithStudentNumber), ""],
                        ["With identifier", "", N(ready.RosterWithIdentifier)],
                        ["With email", N(ready.PatronsWithEmail), N(ready.RosterWithEmail)],
                        ["With GUID", N(ready.PatronsWithGuid), ""],
                        ["Without any school", "", N(ready.RosterWithoutOrg)],
                        ["Same GUID", N(ready.MatchByGuid), ""],
                        ["Same email", N(ready.MatchByEmail), ""],
                    ],
                    1,
                    2
                );
                await terminal.Out.WriteLineAsync();
                terminal.WriteTable(
                    ["Id of the roster", "People", "Same Student #", "Same barcode", "Near misses", "Example"],
                    ready.Keys.Select(k =>
                        (string?[])[k.Source, N(k.People), N(k.StudentNumbers), N(k.Barcodes), N(k.NearMisses), k.Example]
                    ),
                    1,
                    2,
                    3,
                    4
                );
                await terminal.Out.WriteLineAsync();
                terminal.WriteTable(
                    ["School of the roster", "Name", "People"],
                    ready.Orgs.Select(o => (string?[])[o.Value, o.Example, N(o.Count)]),
                    2
                );
                await terminal.Out.WriteLineAsync();
                await terminal.Out.WriteLineAsync(
                    $"Grades: {Terminal.Plain(string.Join(", ", ready.Grades.Select(g => $"{g.Value} ({N(g.Count)})")))}"
                );
            }
        );
        return command;
    }

    private static Command AddSites(Terminal terminal, IntegrationKind kind)
    {
        var schools = new Argument<string[]>("ORG-SOURCEDID")
        {
            Description = "The organizations, as 'orgs' shows them; ORG-SOURCEDID=CODE says which code the site gets",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var all = new Option<bool>("--all") { Description = "For every school that has no site and for which none is suggested" };
        var command = new Command("add-sites", "Add a site for schools of the roster and match the two: all of them, or none")
        {
            schools,
            all,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var named = result.GetRequiredValue(schools);
                if (named.Length == 0 != result.GetValue(all))
                {
                    throw new UsageException("Name the organizations that get a site, or say --all: one of the two.");
                }

                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var added = await session
                    .Get<IntegrationService>()
                    .AddSitesAsync(
                        district,
                        kind,
                        named.Length == 0 ? null : [.. named.Select(SiteOf)],
                        session.Actor.Name,
                        cancellationToken
                    );
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(
                        terminal,
                        added.Select(s => new AddedSite(s.Code, s.Name, s.Guid!, s.NextBarcode)),
                        cancellationToken
                    );
                    return;
                }

                terminal.WriteTable(
                    ["Site", "Name", "Organization", "Next Barcode"],
                    added.Select(s => (string?[])[s.Code, s.Name, s.Guid, s.NextBarcode])
                );
            }
        );
        return command;

        static SiteOfOrg SiteOf(string text) =>
            text.LastIndexOf('=') is var at and > 0 ? new(text[..at], text[(at + 1)..]) : new SiteOfOrg(text);
    }

    private static Command Match(Terminal terminal, IntegrationKind kind)
    {
        var site = new Argument<string>("SITE") { Description = "The site's code" };
        var org = new Argument<string>("ORG-SOURCEDID") { Description = "The organization, as 'orgs' shows it" };
        var command = new Command("match", "Match an organization of the roster to a site. A site may have several") { site, org };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var (code, id) = (result.GetRequiredValue(site), result.GetRequiredValue(org));
                await session.Get<IntegrationService>().MatchAsync(district, kind, code, id, session.Actor.Name, cancellationToken);
                var sites = await session.Get<SiteService>().ListAsync(district.Id, cancellationToken);
                code = sites.First(s => string.Equals(s.Code, code.Trim(), StringComparison.OrdinalIgnoreCase)).Code;
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Matched(code, id));
                }
                else
                {
                    await terminal.Out.WriteLineAsync($"Organization {id} is matched to site {code}.");
                }
            }
        );
        return command;
    }

    private static Command Unmatch(Terminal terminal, IntegrationKind kind)
    {
        var org = new Argument<string>("ORG-SOURCEDID") { Description = "The organization" };
        var command = new Command("unmatch", "Take an organization off its site") { org };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var id = result.GetRequiredValue(org);
                await session.Get<IntegrationService>().UnmatchAsync(district, kind, id, session.Actor.Name, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Unmatched(id));
                }
                else
                {
                    await terminal.Out.WriteLineAsync($"Organization {id} is no longer matched.");
                }
            }
        );
        return command;
    }

    private static Command NotServed(Terminal terminal, IntegrationKind kind)
    {
        var org = new Argument<string>("ORG-SOURCEDID") { Description = "The organization, as 'orgs' shows it" };
        var undo = new Option<bool>("--undo") { Description = "Take it back: that nobody of it is taken in is a warning again" };
        var command = new Command(
            "not-served",
            "Say that the library does not serve an organization: nobody of it is taken in, and no sync warns of that"
        )
        {
            org,
            undo,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var (id, served) = (result.GetRequiredValue(org), result.GetValue(undo));
                await session.Get<IntegrationService>().SetServedAsync(district, kind, id, served, session.Actor.Name, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new OrgServed(id, served));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        served
                            ? $"Organization {id} is served again: match it to a site."
                            : $"Organization {id} is not served by the library. Syncs warn of its people no more."
                    );
                }
            }
        );
        return command;
    }

    private static Command Roles(Terminal terminal, IntegrationKind kind)
    {
        var list = new Argument<string[]>("ROLES")
        {
            Description = "student, teacher, admin: joined by commas",
            Arity = ArgumentArity.OneOrMore,
        };
        var command = new Command("roles", "Say who is synced") { list };
        command.SetAction(
            (result, cancellationToken) =>
            {
                var roles = result
                    .GetRequiredValue(list)
                    .SelectMany(r => r.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
                    .Select(Arguments.RoleGroup)
                    .Distinct()
                    .Order()
                    .ToList();
                return roles.Count == 0
                    ? throw new UsageException("Say who is synced: student, teacher, admin, joined by commas.")
                    : ConfigureAsync(
                        result,
                        terminal,
                        kind,
                        $"roles {string.Join(',', roles.Select(Arguments.Word))}",
                        s => s with { Roles = roles },
                        v => $"Synced: {string.Join(", ", v.Roles)}.",
                        cancellationToken
                    );
            }
        );
        return command;
    }

    private static Command Map(Terminal terminal, IntegrationKind kind)
    {
        var field = new Argument<string>("FIELD") { Description = "barcode, community-id, location or nickname" };
        var source = new Argument<string>("SOURCE")
        {
            Description =
                "none, user-id:TYPE, identifier, username, homeroom:code, homeroom:title, homeroom:location, homeroom:teacher or preferred-name",
        };
        var command = new Command("map", "Say where a field comes from") { field, source };
        command.SetAction(
            (result, cancellationToken) =>
            {
                var change = MapArguments.Parse(result.GetRequiredValue(field), result.GetRequiredValue(source));
                return ConfigureAsync(
                    result,
                    terminal,
                    kind,
                    $"map {result.GetRequiredValue(field)} {result.GetRequiredValue(source)}",
                    s => s with { Map = change(s.Map) },
                    v => $"Mapped: {string.Join(", ", v.Map.Select(m => $"{m.Key} from {m.Value}"))}.",
                    cancellationToken,
                    (session, district) =>
                        WarnOfTypeAsync(session, terminal, district, kind, result.GetRequiredValue(source), cancellationToken)
                );
            }
        );
        return command;
    }

    private static Command SiteFromOrg(Terminal terminal, IntegrationKind kind)
    {
        var from = new Argument<string>("ORG") { Description = "first-org, first-matched or primary-org" };
        from.AcceptOnlyFromAmong("first-org", "first-matched", "primary-org");
        var command = new Command("site-from", "Say which organization of a person decides the site") { from };
        command.SetAction(
            (result, cancellationToken) =>
                ConfigureAsync(
                    result,
                    terminal,
                    kind,
                    $"site from {result.GetRequiredValue(from)}",
                    s => SettingsChange.SiteFrom(s, result.GetRequiredValue(from)),
                    v => $"The site comes from {v.SiteFrom}.",
                    cancellationToken
                )
        );
        return command;
    }

    private static Command Grade(Terminal terminal, IntegrationKind kind)
    {
        var from = new Argument<string>("FROM") { Description = "The grade as the roster sends it" };
        var to = new Argument<string>("TO") { Description = "The grade as the library writes it; an empty text takes the line out" };
        var command = new Command("grade", "Translate a grade of the roster") { from, to };
        command.SetAction(
            (result, cancellationToken) =>
                ConfigureAsync(
                    result,
                    terminal,
                    kind,
                    $"grade {result.GetRequiredValue(from)} → {result.GetRequiredValue(to)}",
                    s => SettingsChange.Grade(s, result.GetRequiredValue(from), result.GetRequiredValue(to)),
                    v =>
                        v.Grades.TryGetValue(result.GetRequiredValue(from).Trim(), out var kept)
                            ? $"Grade {result.GetRequiredValue(from)} is stored as {kept}."
                            : $"Grade {result.GetRequiredValue(from)} is stored as sent.",
                    cancellationToken
                )
        );
        return command;
    }

    private static Command Field(Terminal terminal, IntegrationKind kind)
    {
        var name = new Argument<string>("FIELD") { Description = "A synced field's name or number" };
        var policy = new Option<string?>("--policy")
        {
            Description =
                "roster: the roster wins; fill: only where the library has nothing; library: never written, for new patrons neither",
        };
        policy.AcceptOnlyFromAmong("roster", "fill", "library");
        var blank = new Option<string?>("--blank") { Description = "What a blank of the roster does: keep or clear" };
        blank.AcceptOnlyFromAmong("keep", "clear");
        var command = new Command("field", "Say who wins when roster and library differ") { name, policy, blank };
        command.SetAction(
            (result, cancellationToken) =>
                ConfigureAsync(
                    result,
                    terminal,
                    kind,
                    $"field {result.GetRequiredValue(name)} {result.GetValue(policy)} {result.GetValue(blank)}".TrimEnd(),
                    s => SettingsChange.Field(s, result.GetRequiredValue(name), result.GetValue(policy), result.GetValue(blank)),
                    v =>
                    {
                        var field = PatronFields.Find(result.GetRequiredValue(name))!;
                        return $"{field.Label}: policy {v.Fields[field.Name].Policy}, a blank {v.Fields[field.Name].Blank}s.";
                    },
                    cancellationToken
                )
        );
        return command;
    }

    /// <summary>What a threshold is of, as people read it: not every update counts, and not every new patron.</summary>
    private static string Kinds(string threshold) =>
        threshold switch
        {
            "updates" => "changed names and numbers",
            "creates" => "new patrons with a known name",
            _ => threshold,
        };

    private static Command ThresholdOf(Terminal terminal, IntegrationKind kind)
    {
        var what = new Argument<string>("KIND")
        {
            Description =
                "transfers (leavers), updates (changed last names, barcodes and Student #s) or creates (new patrons with the name of an unlinked one, or of one whom the roster lacks)",
        };
        what.AcceptOnlyFromAmong("transfers", "updates", "creates");
        var percent = new Option<double?>("--percent")
        {
            Description = "Hold above so many percent of those linked at the site; for creates of all people there",
            HelpName = "P",
        };
        var count = new Option<int?>("--count") { Description = "Hold from so many people on", HelpName = "N" };
        var site = new Option<string?>("--site") { Description = "At this site alone", HelpName = "S" };
        var command = new Command("threshold", "Say when changes wait for an approval") { what, percent, count, site };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                Usage(s =>
                    SettingsChange.Threshold(s, result.GetRequiredValue(what), result.GetValue(percent), result.GetValue(count), null)
                );
                Site? at = null;
                if (GlobalOptions.Given(result.GetValue(site)) is { } code)
                {
                    await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                    var sites = await session.SitesAsync(await session.DistrictAsync(cancellationToken), cancellationToken);
                    at = PatronCommands.FindSite(sites, code) is { } id ? sites[id] : null;
                }

                await ConfigureAsync(
                    result,
                    terminal,
                    kind,
                    $"threshold {result.GetRequiredValue(what)} {result.GetValue(percent)} % {result.GetValue(count)} {result.GetValue(site)}".TrimEnd(),
                    s =>
                        SettingsChange.Threshold(
                            s,
                            result.GetRequiredValue(what),
                            result.GetValue(percent),
                            result.GetValue(count),
                            at?.Id
                        ),
                    v =>
                    {
                        var name = result.GetRequiredValue(what);
                        var threshold =
                            at is not null && v.SiteThresholds.TryGetValue(at.Code, out var own) ? own[name] : v.Thresholds[name];
                        return $"{name} {(at is null ? "" : $"at {at.Code} ")}are held from {threshold.Count} people and above {threshold.Percent} %.";
                    },
                    cancellationToken
                );
            }
        );
        return command;
    }

    private static Command Schedule(Terminal terminal, IntegrationKind kind)
    {
        var daily = new Option<string?>("--daily")
        {
            Description = "Time of day where the district is, such as 04:00; default for the one that is proposed, off for never",
            HelpName = "HH:MM",
        };
        var mode = new Option<string?>("--mode") { Description = "full, or changes since the last run" };
        mode.AcceptOnlyFromAmong("full", "changes");
        var pause = new Option<string[]>("--pause")
        {
            Description = "No Daily Operations from one date to another, both included",
            HelpName = "FROM TO",
            Arity = new ArgumentArity(2, 2),
            AllowMultipleArgumentsPerToken = true,
        };
        var resume = new Option<bool>("--resume") { Description = "Take pauses away, and what an undo put in the way" };
        var command = new Command("schedule", "Say when the district is synced by itself; without options, show it")
        {
            daily,
            mode,
            pause,
            resume,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var dates = result.GetValue(pause) ?? [];
                var (proposed, today) = (DailySchedule.Proposed(1), DateOnly.MinValue);
                if (result.GetValue(mode) is not null && result.GetValue(daily) is null)
                {
                    throw new UsageException("--mode belongs to --daily HH:MM.");
                }

                IntegrationSettings Change(IntegrationSettings settings)
                {
                    settings = result.GetValue(resume) ? SettingsChange.Resume(settings, TimeProvider.System.GetUtcNow()) : settings;
                    settings = result.GetValue(daily) is { } at
                        ? SettingsChange.Daily(settings, at, result.GetValue(mode), TimeProvider.System.GetUtcNow(), proposed)
                        : settings;
                    return dates.Length == 2 ? SettingsChange.Pause(settings, dates[0], dates[1], today) : settings;
                }

                if (result.GetValue(daily) is null && dates.Length == 0 && !result.GetValue(resume))
                {
                    await ChangeAsync(result, terminal, kind, (_, _) => Task.CompletedTask, ScheduleText, cancellationToken);
                    return;
                }

                Usage(Change);
                await ChangeAsync(
                    result,
                    terminal,
                    kind,
                    (session, district) =>
                    {
                        (proposed, today) = (
                            DailySchedule.Proposed(district.Id),
                            DistrictService.Today(district, session.Get<TimeProvider>())
                        );
                        return session
                            .Get<IntegrationService>()
                            .ConfigureAsync(district.Id, kind, session.Actor.Name, "schedule", Change, cancellationToken);
                    },
                    ScheduleText,
                    cancellationToken
                );
            }
        );
        return command;
    }

    private static string ScheduleText(IntegrationView view)
    {
        var daily = view.Daily;
        var text = daily.At is { } at
            ? $"Synced every day at {at:HH:mm}, {(daily.ChangesOnly ? "changes only, and in full at least weekly" : "in full")}, while 'rollcall serve' runs."
            : "Not synced by itself: 'schedule --daily default' starts that, around four in the morning.";
        foreach (var pause in daily.Pauses)
        {
            text += $" Paused from {pause.From:yyyy-MM-dd} to {pause.To:yyyy-MM-dd}.";
        }

        return daily.StoppedBecause is { } why ? $"{text} Stopped: {why} 'schedule --resume' goes on." : text;
    }

    /// <summary>Tells a wrong word as wrong usage, before anything is opened.</summary>
    private static void Usage(Func<IntegrationSettings, IntegrationSettings> change)
    {
        try
        {
            _ = change(new IntegrationSettings());
        }
        catch (RollcallException e)
        {
            throw new UsageException(e.Message);
        }
    }

    internal static Option<bool> Yes() =>
        new("--yes") { Description = "Clear the identifiers of another roster where there are some; 'operation undo' brings them back" };

    private static Task ConfigureAsync(
        ParseResult result,
        Terminal terminal,
        IntegrationKind kind,
        string what,
        Func<IntegrationSettings, IntegrationSettings> change,
        Func<IntegrationView, string> say,
        CancellationToken cancellationToken,
        Func<Session, District, Task>? then = null
    )
    {
        Usage(change);
        return ChangeAsync(
            result,
            terminal,
            kind,
            (session, district) =>
                session.Get<IntegrationService>().ConfigureAsync(district.Id, kind, session.Actor.Name, what, change, cancellationToken),
            say,
            cancellationToken,
            then: then
        );
    }

    /// <summary>A misspelt type is mapped like any other, and nobody would have the field.</summary>
    private static async Task WarnOfTypeAsync(
        Session session,
        Terminal terminal,
        District district,
        IntegrationKind kind,
        string source,
        CancellationToken cancellationToken
    )
    {
        if (
            MapArguments.TypeOf(source) is { } type
            && await session.Get<ReadinessService>().FirstIdTypesAsync(district, kind, cancellationToken) is { People: > 0 } first
            && !first.Types.Contains(type)
        )
        {
            var there = first.Types.Where(t => t.Length > 0).Order(StringComparer.Ordinal).ToList();
            await terminal.Error.WriteLineAsync(
                Terminal.Plain(
                    $"warning: of the first {OperationText.N(first.People)} people of the roster nobody has an id of the type '{type}'; {(there.Count == 0 ? "none has any" : $"there is {string.Join(", ", there)}")}. It is mapped all the same."
                )
            );
        }
    }

    private static async Task ChangeAsync(
        ParseResult result,
        Terminal terminal,
        IntegrationKind kind,
        Func<Session, District, Task> act,
        Func<IntegrationView, string> say,
        CancellationToken cancellationToken,
        Func<IntegrationView, object>? json = null,
        Func<Session, District, Task>? then = null
    )
    {
        await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
        var district = await session.DistrictAsync(cancellationToken);
        var integrations = session.Get<IntegrationService>();
        await act(session, district);
        var sites = await session.SitesAsync(district, cancellationToken);
        var view = IntegrationView.Of(kind, await integrations.FindAsync(district.Id, kind, cancellationToken), sites.Values);
        if (session.Json)
        {
            await JsonText.WriteAsync(terminal, json?.Invoke(view) ?? view);
        }
        else
        {
            await terminal.Out.WriteLineAsync(Terminal.Plain(say(view)));
        }

        if (then is not null)
        {
            await then(session, district);
        }
    }

    private static string Cleared(long operation) =>
        $"The links to the other roster are cleared. 'rollcall operation undo {operation}' brings them back.";

    private static async Task WriteConnectedAsync(Terminal terminal, Session session, ConnectResult connected)
    {
        if (session.Json)
        {
            await JsonText.WriteAsync(
                terminal,
                new Connected(
                    connected.Mode.ToString().ToLowerInvariant(),
                    connected.TenantId,
                    connected.DistrictName,
                    connected.Confirmed,
                    connected.Message,
                    connected.Cleared
                )
            );
        }
        else
        {
            await terminal.Out.WriteLineAsync(Terminal.Plain(connected.Message));
            if (connected.Cleared is { } operation)
            {
                await terminal.Out.WriteLineAsync(Cleared(operation));
            }
        }
    }
}
