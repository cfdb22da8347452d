using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster.ClassLink;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Patrons.Erasure;
using Rollcall.Retention;
using Rollcall.Review;
using Rollcall.Server.Commands;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;
using Rollcall.Sync.Person;
using Rollcall.Sync.Undo;

namespace Rollcall.Server.Api;

/// <summary>The REST API: what the screens do, for programs. Who may what stands in <see cref="Access"/>; <see cref="ApiGate"/> asks it.</summary>
internal static class ApiRoutes
{
    public const string Version = "v1";

    private const int DefaultPage = 100;
    private const int LargestPage = 1000;
    private const long LargestImport = 32 * 1024 * 1024;

    /// <summary>The most patrons that a bulk change names one by one.</summary>
    private const int MostBarcodes = 1000;

    /// <summary>
    /// Changes that are being written while a page is read are younger than this: one statement over a very large district may be at work for minutes
    /// under the time that it began with.
    /// </summary>
    private static readonly TimeSpan s_inFlight = TimeSpan.FromMinutes(15);

    public static void Map(WebApplication app)
    {
        var api = app.MapGroup($"{ApiGate.Root}/{Version}")
            .DisableAntiforgery()
            .AddEndpointFilter(ApiRequired.CheckAsync)
            .AddEndpointFilter(ApiGate.CheckAgainAsync);
        api.MapGet("/openapi.json", OpenApiShape.SendAsync).ExcludeFromDescription();
        Read(api.MapGet("/health", HealthAsync), "health", "Say whether the server and its database answer");

        Read(
            api.MapPost(Remote.Path, ApiCommands.RunAsync).WithMetadata(new RequestSizeLimitAttribute(Remote.LargestBody), new HoldsBody()),
            "runCommand",
            "Run a command of the command line; answered line by line while it runs",
            "application/x-ndjson"
        );

        Read(api.MapGet("/districts", DistrictsAsync), "districts", "List the districts that the token opens");
        Write(api.MapPost("/districts", AddDistrictAsync), "addDistrict", "Add a district");
        Write(api.MapPost("/districts/{code}/tenants", AllowTenantAsync), "allowTenant", "Let a district use a ClassLink tenant");
        Write(
            api.MapDelete("/districts/{code}/tenants/{tenantId}", DisallowTenantAsync),
            "disallowTenant",
            "Take a ClassLink tenant back from a district that is not connected with it"
        );

        Write(api.MapPatch("/district", ChangeDistrictAsync), "changeDistrict", "Change the time zone of the token's district");

        Read(api.MapGet("/sites", SitesAsync), "sites", "List the sites");
        Write(api.MapPost("/sites", AddSiteAsync), "addSite", "Add a site");
        Write(api.MapPatch("/sites/{code}", ChangeSiteAsync), "changeSite", "Change a site");

        Read(api.MapGet("/grades", GradesAsync), "grades", "Show the Grade Table: the order of the grades");
        Write(api.MapPut("/grades", SetGradesAsync), "setGrades", "Change the order of the grades");
        Read(api.MapGet("/policies", PoliciesAsync), "policies", "List the policies and who has them");
        Write(api.MapPut("/policies/{code}", SetPolicyAsync), "setPolicy", "Add a policy, or name one");
        Write(api.MapDelete("/policies/{code}", RemovePolicyAsync), "removePolicy", "Take a policy away that nobody has");

        Read(api.MapGet("/retention", RetentionAsync), "retention", "Show how long logs, audit and sign-ins are kept");
        Write(api.MapPatch("/retention", ChangeRetentionAsync), "changeRetention", "Change how long they are kept");
        Starts(api.MapPost("/retention/run", RunRetentionAsync), "runRetention", "Remove now what is older");

        Read(api.MapGet("/integrations", IntegrationsAsync), "integrations", "List the roster services and their settings");
        Read(api.MapGet("/integrations/{service}", IntegrationAsync), "integration", "Show one roster service's settings");
        Write(
            api.MapPatch("/integrations/{service}", ChangeIntegrationAsync),
            "changeIntegration",
            "Change roles, mapping, rules, thresholds or schedule"
        );
        Write(api.MapPost("/integrations/{service}/connect", ConnectAsync), "connect", "Check a connection and store it");
        Write(api.MapPost("/integrations/{service}/test", TestAsync), "testConnection", "Try the stored connection");
        Write(api.MapPost("/integrations/{service}/on", TurnOnAsync), "turnOn", "Turn it on, and every other roster service off");
        Write(api.MapPost("/integrations/{service}/off", TurnOffAsync), "turnOff", "Turn it off; identifiers stay");
        Read(
            api.MapGet("/integrations/{service}/orgs", OrgsAsync),
            "orgs",
            "List the roster's organizations and the sites they are matched to"
        );
        Read(api.MapGet("/integrations/{service}/readiness", ReadinessAsync), "readiness", "Count what a first sync would meet");
        Write(
            api.MapPost("/integrations/{service}/sites", AddSitesAsync),
            "addSites",
            "Add a site for schools of the roster and match the two: all of them, or none"
        );
        Write(api.MapPost("/integrations/{service}/matches", MatchAsync), "match", "Match an organization to a site");
        Write(api.MapDelete("/integrations/{service}/matches", UnmatchAsync), "unmatch", "Take an organization off its site");
        Write(
            api.MapPost("/integrations/{service}/not-served", LeaveAsync),
            "notServed",
            "Say that the library does not serve an organization: no sync warns of its people"
        );
        Write(
            api.MapDelete("/integrations/{service}/not-served", ServeAsync),
            "served",
            "Take back that the library does not serve an organization"
        );

        Read(api.MapGet("/operations", OperationsAsync), "operations", "List operations, the newest first");
        Starts(api.MapPost("/operations/sync", SyncAsync), "startSync", "Start a sync or a preview");
        Read(api.MapGet("/operations/{id:long}", OperationAsync), "operation", "Show one operation");
        Read(api.MapGet("/operations/{id:long}/log", LogAsync), "operationLog", "Read an operation's log, page by page");
        Read(api.MapGet("/operations/{id:long}/log.csv", LogCsvAsync), "operationLogCsv", "Read an operation's log as CSV", "text/csv");
        Read(
            api.MapGet("/operations/{id:long}/log.jsonl", LogLinesAsync),
            "operationLogLines",
            "Read an operation's log as JSON Lines",
            "application/x-ndjson"
        );
        Read(
            api.MapGet("/operations/{id:long}/skips", SkipsAsync),
            "operationSkips",
            "Count why an operation skipped people, the most frequent reason first"
        );
        Starts(api.MapPost("/operations/{id:long}/approve", ApproveAsync), "approve", "Apply what waits in an operation");
        Starts(api.MapPost("/operations/{id:long}/discard", DiscardAsync), "discard", "Drop what waits in an operation");
        Starts(api.MapPost("/operations/{id:long}/cancel", CancelAsync), "cancel", "Ask a waiting or running operation to stop");
        Starts(api.MapPost("/operations/{id:long}/undo", UndoAsync), "undo", "Take an operation back, or one patron of it");

        Read(api.MapGet("/review", ReviewAsync), "review", "List who waits in Review, or was decided on, page by page");
        Starts(api.MapPost("/review/{id:int}/link", LinkAsync), "reviewLink", "The person is this patron");
        Starts(api.MapPost("/review/{id:int}/create", CreateAsync), "reviewCreate", "The person is a new patron");
        Starts(api.MapPost("/review/{id:int}/ignore", IgnoreAsync), "reviewIgnore", "The person is not to be synced");
        Starts(api.MapPost("/review/{id:int}/reopen", ReopenAsync), "reviewReopen", "Take a decision back");

        Starts(
            api.MapPost("/patrons/change", ChangeManyAsync),
            "changePatrons",
            "Plan the same change for many; a preview unless told otherwise"
        );
        Starts(
            api.MapPost("/patrons/removal", RemoveManyAsync),
            "removePatrons",
            "Plan the removal of patrons for good; a preview unless told otherwise"
        );
        Read(api.MapGet("/patrons.csv", PatronsCsvAsync), "patronsCsv", "Read patrons as CSV, which can be imported again", "text/csv");
        Read(api.MapGet("/patrons.jsonl", PatronLinesAsync), "patronLines", "Read patrons as JSON Lines", "application/x-ndjson");
        Read(api.MapGet("/patron-counts", PatronCountsAsync), "patronCounts", "Count patrons by site and status");
        Read(
            api.MapGet("/lists/arrivals", ArrivalsAsync),
            "arrivals",
            "List who came since a day and has no card yet, by homeroom; with card=all everybody who came"
        );
        Read(api.MapGet("/lists/leavers", LeaversAsync), "leavers", "List who left since a day, by homeroom");
        Read(api.MapGet("/filters", FiltersAsync), "filters", "List the saved filters of whoever made the token");
        Write(api.MapPut("/filters", SaveFilterAsync), "saveFilter", "Save a filter of the list of patrons; one of that name is replaced");
        Write(api.MapDelete("/filters/{name}", RemoveFilterAsync), "removeFilter", "Remove a saved filter");

        Read(api.MapGet("/patrons", PatronsAsync), "patrons", "List patrons, page by page; with changedSince to follow along");
        Starts(api.MapPost("/patrons", AddPatronAsync), "addPatron", "Add a patron by hand");
        Starts(
            api.MapPost("/patrons/import", ImportAsync)
                .Accepts<string>("text/csv")
                .WithMetadata(new RequestSizeLimitAttribute(LargestImport), new HoldsBody()),
            "importPatrons",
            "Plan an import from CSV; a preview unless told otherwise"
        );
        Read(api.MapGet("/patrons/{barcode}", PatronAsync), "patron", "Show one patron");
        Write(api.MapPatch("/patrons/{barcode}", ChangePatronAsync), "changePatron", "Change fields of a patron");
        Read(api.MapGet("/patrons/{barcode}/history", HistoryAsync), "patronHistory", "Read what changed a patron, the newest first");
        Read(api.MapGet("/patrons/{barcode}/explain", ExplainAsync), "explainPatron", "Say where each value of a patron comes from");
        Starts(api.MapPost("/patrons/{barcode}/merge", MergeAsync), "mergePatrons", "Make one of two records of a person");
        Read(
            api.MapGet("/patrons/{barcode}/data", DataAsync),
            "patronData",
            "Read everything that is kept of one person",
            "application/json"
        );
        Read(api.MapGet("/patrons/{barcode}/erasure", ErasurePreviewAsync), "erasurePreview", "Say what an erasure would take out");
        Starts(api.MapPost("/patrons/{barcode}/erasure", EraseAsync), "erasePatron", "Take one person out of everything, for good");
        ApiAdministration.Map(api);
    }

    private static void Read(RouteHandlerBuilder route, string id, string summary, string? contentType = null)
    {
        Describe(route, id, summary);
        if (contentType is not null)
        {
            route.Produces<string>(StatusCodes.Status200OK, contentType);
        }
    }

    private static void Write(RouteHandlerBuilder route, string id, string summary) => Describe(route, id, summary);

    private static void Starts(RouteHandlerBuilder route, string id, string summary) =>
        Describe(route, id, summary).WithMetadata(new StartsSomething());

    internal static RouteHandlerBuilder Describe(RouteHandlerBuilder route, string id, string summary) =>
        route.WithName(id).WithSummary(summary);

    // Installation

    private static async Task<HealthView> HealthAsync(DistrictService districts, HttpContext http)
    {
        await districts.ListAsync(http.RequestAborted);
        return new HealthView("ok", Pages.AboutModel.ProgramVersion);
    }

    private static async Task<IReadOnlyList<DistrictView>> DistrictsAsync(DistrictService districts, HttpContext http)
    {
        var caller = Caller.Of(http);
        return await ViewAsync(
            caller.OwnDistrict is { } own ? [own]
                : caller.Grant.Scopes.HasFlag(TokenScopes.Installation) ? await districts.ListAsync(http.RequestAborted)
                : [],
            districts,
            http
        );
    }

    private static async Task<Created<DistrictView>> AddDistrictAsync(NewDistrict body, DistrictService districts, HttpContext http) =>
        Created(
            "/districts",
            (
                await ViewAsync(
                    [await districts.AddAsync(body.Code, body.Name, body.TimeZone, Caller.Of(http).Actor.Name, http.RequestAborted)],
                    districts,
                    http
                )
            )[0]
        );

    private static async Task<DistrictView> AllowTenantAsync(string code, AllowedTenant body, DistrictService districts, HttpContext http)
    {
        var district = await DistrictAsync(code, districts, http);
        await districts.AllowTenantAsync(district, body.TenantId, Caller.Of(http).Actor.Name, http.RequestAborted);
        return (await ViewAsync([district], districts, http))[0];
    }

    private static async Task<NoContent> DisallowTenantAsync(string code, string tenantId, DistrictService districts, HttpContext http)
    {
        var district = await DistrictAsync(code, districts, http);
        if (
            !TenantId.TryParse(tenantId, out var tenant)
            || !(await districts.TenantsAsync(http.RequestAborted))[district.Id].Contains(tenant, StringComparer.Ordinal)
        )
        {
            throw new NotFoundException(
                $"{district.Name} is not allowed tenant {Text.Cut(tenantId.Trim(), 20)}. /districts shows which tenants each may use."
            );
        }

        await districts.DisallowTenantAsync(district, tenantId, Caller.Of(http).Actor.Name, http.RequestAborted);
        return TypedResults.NoContent();
    }

    /// <summary>One of the installation's districts, by its code.</summary>
    internal static async Task<District> DistrictAsync(string code, DistrictService districts, HttpContext http) =>
        (await districts.ListAsync(http.RequestAborted)).FirstOrDefault(d =>
            string.Equals(d.Code, code, StringComparison.OrdinalIgnoreCase)
        ) ?? throw new NotFoundException($"There is no district {Text.Cut(code, 40)}. /districts lists those there are.");

    private static async Task<DistrictView> ChangeDistrictAsync(DistrictPatch body, DistrictService districts, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await districts.SetTimeZoneAsync(district, body.TimeZone, actor.Name, http.RequestAborted);
        var changed = (await districts.ListAsync(http.RequestAborted)).First(d => d.Id == district.Id);
        return (await ViewAsync([changed], districts, http))[0];
    }

    private static async Task<IReadOnlyList<DistrictView>> ViewAsync(
        IReadOnlyList<District> some,
        DistrictService districts,
        HttpContext http
    )
    {
        var tenants = await districts.TenantsAsync(http.RequestAborted);
        var asked = (await http.RequestServices.GetRequiredService<TenantRequests>().ListAsync(http.RequestAborted)).ToDictionary(
            r => r.DistrictId,
            r => r.TenantId
        );
        return [.. some.Select(d => new DistrictView(d.Code, d.Name, d.TimeZone, [.. tenants[d.Id]], asked.GetValueOrDefault(d.Id)))];
    }

    // Sites

    private static async Task<IReadOnlyList<SiteView>> SitesAsync(SiteService sites, HttpContext http)
    {
        var (district, _) = Caller.Of(http);
        var defaults = (await sites.DefaultsAsync(district.Id, http.RequestAborted)).ToLookup(d => d.SiteId);
        return [.. (await sites.ListAsync(district.Id, http.RequestAborted)).Select(s => View(s, defaults[s.Id]))];
    }

    private static async Task<Created<SiteView>> AddSiteAsync(NewSite body, SiteService sites, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        var change = new SiteChange(body.Name, body.NextBarcode, body.Policy, body.Group, RoleGroupOf(body.RoleGroup));
        var site = await sites.AddAsync(district.Id, body.Code, change, actor.Name, http.RequestAborted);
        return Created("/sites", await ViewAsync(site, sites, http));
    }

    private static async Task<SiteView> ChangeSiteAsync(string code, SitePatch body, SiteService sites, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await SiteAsync(sites, district, code, http);
        var change = new SiteChange(body.Name, body.NextBarcode, body.Policy, body.Group, RoleGroupOf(body.RoleGroup));
        return await ViewAsync(await sites.SetAsync(district.Id, code, change, actor.Name, http.RequestAborted), sites, http);
    }

    private static async Task<Site> SiteAsync(SiteService sites, District district, string code, HttpContext http) =>
        (await sites.ListAsync(district.Id, http.RequestAborted)).FirstOrDefault(s =>
            string.Equals(s.Code, code.Trim(), StringComparison.OrdinalIgnoreCase)
        ) ?? throw new NotFoundException($"There is no site {Text.Cut(code, 40)}. /sites lists those there are.");

    private static async Task<SiteView> ViewAsync(Site site, SiteService sites, HttpContext http) =>
        View(site, (await sites.DefaultsAsync(site.DistrictId, http.RequestAborted)).Where(d => d.SiteId == site.Id));

    private static SiteView View(Site site, IEnumerable<SiteDefault> defaults) =>
        new(
            site.Code,
            site.Name,
            site.Guid,
            site.NextBarcode,
            site.DefaultPolicy,
            PatronFields.GroupWord(site.DefaultGroup),
            [
                .. defaults
                    .OrderBy(d => d.RoleGroup)
                    .Select(d => new SiteRoleGroupView(
                        Arguments.Word(d.RoleGroup),
                        d.NextBarcode,
                        d.Policy,
                        d.Group is { } group ? PatronFields.GroupWord(group) : null
                    )),
            ]
        );

    private static RoleGroup? RoleGroupOf(string? word) => string.IsNullOrWhiteSpace(word) ? null : Arguments.RoleGroup(word);

    // Grades and policies

    private static async Task<GradesView> GradesAsync(GradeTable grades, HttpContext http) =>
        new(await grades.ListAsync(Caller.Of(http).District.Id, http.RequestAborted), GradeTable.Usual);

    private static async Task<GradesView> SetGradesAsync(GradesBody body, GradeTable grades, Reading reading, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        var levels = await grades.SetAsync(district.Id, body.Levels, actor.Name, cancellationToken: http.RequestAborted);
        reading.ForgetLevels(district.Id);
        return new(levels, GradeTable.Usual);
    }

    private static async Task<IReadOnlyList<PolicyView>> PoliciesAsync(PolicyService policies, HttpContext http) =>
        [.. (await policies.ListAsync(Caller.Of(http).District.Id, http.RequestAborted)).Select(View)];

    private static async Task<PolicyView> SetPolicyAsync(string code, PolicyBody body, PolicyService policies, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        return View(await policies.SetAsync(district.Id, Unescaped(code), body.Name, actor.Name, onlyNew: false, http.RequestAborted));
    }

    private static async Task<NoContent> RemovePolicyAsync(string code, PolicyService policies, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        if ((await policies.ListAsync(district.Id, http.RequestAborted)).All(p => p.Code != Text.Clean(Unescaped(code))))
        {
            throw new NotFoundException($"There is no policy {Text.Cut(code, 40)}. /policies lists those there are.");
        }

        await policies.RemoveAsync(district.Id, Unescaped(code), actor.Name, http.RequestAborted);
        return TypedResults.NoContent();
    }

    private static PolicyView View(PolicyUse policy) => new(policy.Code, policy.Name, policy.Patrons, policy.Sites);

    // Retention

    private static async Task<RetentionView> RetentionAsync(RetentionService retention, HttpContext http) =>
        View(await retention.FindAsync(Caller.Of(http).District.Id, http.RequestAborted));

    private static async Task<RetentionView> ChangeRetentionAsync(RetentionPatch body, RetentionService retention, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        return View(await retention.SetAsync(district.Id, body.LogDays, body.AuditDays, body.SignInDays, actor.Name, http.RequestAborted));
    }

    private static async Task<Accepted<Started>> RunRetentionAsync(RetentionService retention, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        return Accepted(await retention.EnqueueAsync(district.Id, actor.Name, http.RequestAborted), isNew: true);
    }

    private static RetentionView View(RetentionSetting setting) => new(setting.LogDays, setting.AuditDays, setting.SignInDays);

    // Integrations

    private static async Task<IReadOnlyList<IntegrationView>> IntegrationsAsync(
        IntegrationService integrations,
        SiteService sites,
        HttpContext http
    )
    {
        var (district, _) = Caller.Of(http);
        var all = await sites.ListAsync(district.Id, http.RequestAborted);
        var views = new List<IntegrationView>();
        foreach (var kind in Enum.GetValues<IntegrationKind>())
        {
            views.Add(IntegrationView.Of(kind, await integrations.FindAsync(district.Id, kind, http.RequestAborted), all));
        }

        return views;
    }

    private static async Task<IntegrationView> IntegrationAsync(
        string service,
        IntegrationService integrations,
        SiteService sites,
        HttpContext http
    )
    {
        var (district, _) = Caller.Of(http);
        var kind = Kind(service);
        return IntegrationView.Of(
            kind,
            await integrations.FindAsync(district.Id, kind, http.RequestAborted),
            await sites.ListAsync(district.Id, http.RequestAborted)
        );
    }

    private static async Task<IntegrationView> ChangeIntegrationAsync(
        string service,
        SettingsPatch body,
        IntegrationService integrations,
        SiteService sites,
        TimeProvider time,
        HttpContext http
    )
    {
        var (district, actor) = Caller.Of(http);
        var kind = Kind(service);
        var site = body.ThresholdsOfSite is { } code ? await SiteAsync(sites, district, code, http) : null;
        var changes = ApiSettings.ChangesOf(
            body,
            site?.Id,
            time.GetUtcNow(),
            DistrictService.Today(district, time),
            Operations.DailySchedule.Proposed(district.Id)
        );
        await integrations.ConfigureAsync(
            district.Id,
            kind,
            actor.Name,
            string.Join("; ", changes.Select(c => c.What)),
            s => changes.Aggregate(s, (settings, c) => c.Change(settings)),
            http.RequestAborted
        );
        return await IntegrationAsync(service, integrations, sites, http);
    }

    private static async Task<ConnectedView> ConnectAsync(
        string service,
        ConnectBody body,
        IntegrationService integrations,
        HttpContext http
    )
    {
        var (district, actor) = Caller.Of(http);
        var result = await integrations.ConnectAsync(
            district,
            Kind(service),
            ApiSettings.RequestOf(Kind(service), body),
            asOperator: false,
            body.Clear == true,
            actor.Name,
            cancellationToken: http.RequestAborted
        );
        return View(result);
    }

    private static async Task<ConnectedView> TestAsync(string service, IntegrationService integrations, HttpContext http) =>
        View(await integrations.TestAsync(Caller.Of(http).District, Kind(service), http.RequestAborted));

    private static ConnectedView View(ConnectResult result) =>
        new(
            result.Mode.ToString().ToLowerInvariant(),
            result.TenantId,
            result.DistrictName,
            result.Confirmed,
            result.Message,
            result.Cleared
        );

    private static async Task<TurnedOn> TurnOnAsync(string service, TurnOnBody body, IntegrationService integrations, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        return new(
            true,
            await integrations.TurnOnAsync(
                district.Id,
                Kind(service),
                body.Clear == true,
                actor.Name,
                cancellationToken: http.RequestAborted
            )
        );
    }

    private static async Task<TurnedOn> TurnOffAsync(string service, IntegrationService integrations, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await integrations.TurnOffAsync(district.Id, Kind(service), actor.Name, http.RequestAborted);
        return new(false, null);
    }

    private static async Task<IReadOnlyList<OrgView>> OrgsAsync(string service, IntegrationService integrations, HttpContext http) =>
        [
            .. (await integrations.OrgsAsync(Caller.Of(http).District, Kind(service), http.RequestAborted)).Select(o => new OrgView(
                o.SourcedId,
                o.Name,
                o.Type,
                o.SiteCode,
                o.SuggestedSite,
                o.ProposedCode,
                o.NotServed
            )),
        ];

    private static Task<Readiness> ReadinessAsync(string service, ReadinessService readiness, HttpContext http) =>
        readiness.CheckAsync(Caller.Of(http).District, Kind(service), cancellationToken: http.RequestAborted);

    private static async Task<IReadOnlyList<AddedSite>> AddSitesAsync(
        string service,
        NewSitesBody body,
        IntegrationService integrations,
        HttpContext http
    )
    {
        var (district, actor) = Caller.Of(http);
        IReadOnlyList<SiteOfOrg>? wanted = body.Sites is { } sites ? [.. sites.Select(s => new SiteOfOrg(s.Org, s.Code, s.Name))] : null;
        var added = await integrations.AddSitesAsync(district, Kind(service), wanted, actor.Name, http.RequestAborted);
        return [.. added.Select(s => new AddedSite(s.Code, s.Name, s.Guid!, s.NextBarcode))];
    }

    private static async Task<MatchBody> MatchAsync(string service, MatchBody body, IntegrationService integrations, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await integrations.MatchAsync(district, Kind(service), body.Site, body.Org, actor.Name, http.RequestAborted);
        return body;
    }

    private static async Task<NoContent> UnmatchAsync(string service, string org, IntegrationService integrations, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        if (!await integrations.IsMatchedAsync(district.Id, Kind(service), org, http.RequestAborted))
        {
            throw new NotFoundException(
                $"Organization {Text.Cut(org, 100)} is not matched to any site. /integrations/{service}/orgs lists those there are."
            );
        }

        await integrations.UnmatchAsync(district, Kind(service), org, actor.Name, http.RequestAborted);
        return TypedResults.NoContent();
    }

    private static async Task<OrgBody> LeaveAsync(string service, OrgBody body, IntegrationService integrations, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await integrations.SetServedAsync(district, Kind(service), body.Org, served: false, actor.Name, http.RequestAborted);
        return body;
    }

    private static async Task<NoContent> ServeAsync(string service, string org, IntegrationService integrations, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        if (
            !IntegrationService
                .SettingsOf(await integrations.FindAsync(district.Id, Kind(service), http.RequestAborted))
                .NotServed.Contains(org)
        )
        {
            throw new NotFoundException(
                $"Nobody said of organization {Text.Cut(org, 100)} that the library does not serve it. /integrations/{service}/orgs lists those there are."
            );
        }

        await integrations.SetServedAsync(district, Kind(service), org, served: true, actor.Name, http.RequestAborted);
        return TypedResults.NoContent();
    }

    private static IntegrationKind Kind(string service) =>
        Enum.GetValues<IntegrationKind>().Where(k => IntegrationWords.Verb(k) == service).Select(k => (IntegrationKind?)k).FirstOrDefault()
        ?? throw new NotFoundException(
            $"There is no roster service '{Text.Cut(service, 40)}': there is {string.Join(", ", Enum.GetValues<IntegrationKind>().Select(IntegrationWords.Verb))}."
        );

    // Operations

    private static async Task<Page<OperationDetails>> OperationsAsync(
        OperationQueue queue,
        HttpContext http,
        int? limit = null,
        string? cursor = null,
        bool edits = false,
        string? from = null,
        string? to = null,
        string? kind = null,
        string? by = null
    )
    {
        var (district, _) = Caller.Of(http);
        var size = Size(limit);
        var before = cursor is null ? (long?)null : Number(cursor);
        var filter = new OperationFilter(
            from is null ? null : Arguments.Instant(from, "from", district),
            to is null ? null : Arguments.Instant(to, "to", district),
            Text.Clean(kind) is { } word
                ? Known(word, "kind of operation", Enum.GetValues<OperationKind>(), OperationQueue.KindWord)
                : null,
            Text.Clean(by)
        );
        var list = await queue.BeforeAsync(district.Id, before, size, edits, filter, http.RequestAborted);
        return new([.. list.Select(OperationDetails.Of)], list.Count < size ? null : Cursor(list[^1].Id));
    }

    /// <summary>What a word means; a wrong one is refused, for what it leaves open would be taken for what was asked.</summary>
    private static T Known<T>(string word, string what, IEnumerable<T> all, Func<T, string?> wordOf)
        where T : struct
    {
        var known = all.Select(a => (Value: a, Word: wordOf(a))).Where(a => a.Word is not null).ToList();
        var found = known.FindIndex(a => string.Equals(a.Word, word, StringComparison.OrdinalIgnoreCase));
        return found >= 0
            ? known[found].Value
            : throw new RollcallException(
                $"'{Text.Cut(word, 40)}' is no {what}: {string.Join(", ", known.Select(a => a.Word).Order(StringComparer.Ordinal))}."
            );
    }

    private static async Task<Accepted<Started>> SyncAsync(
        SyncBody body,
        OperationQueue queue,
        IntegrationService integrations,
        HttpContext http
    )
    {
        var (district, actor) = Caller.Of(http);
        var kind = body.Kind?.Trim().ToLowerInvariant() switch
        {
            null or "full" => OperationKind.FullSync,
            "changes" => OperationKind.ChangesSync,
            "person" => OperationKind.PersonSync,
            _ => throw new RollcallException($"'{Text.Cut(body.Kind, 40)}' is no kind of sync: full, changes or person."),
        };
        if (kind == OperationKind.PersonSync != (Text.Clean(body.Person) is not null))
        {
            throw new RollcallException("Name the person for a sync of kind 'person', and for no other kind.");
        }

        var on =
            await integrations.EnabledAsync(district.Id, http.RequestAborted)
            ?? throw new RollcallException("No roster service is on. Connect one and turn it on, then sync.");
        var (id, isNew) = await queue.EnqueueAsync(
            district.Id,
            kind,
            on.Kind,
            body.Preview == true,
            actor.Name,
            kind == OperationKind.PersonSync ? PersonOptions.For(body.Person!) : "{}",
            cancellationToken: http.RequestAborted
        );
        return Accepted(id, isNew);
    }

    private static async Task<OperationDetails> OperationAsync(long id, OperationQueue queue, HttpContext http) =>
        OperationDetails.Of(await FindAsync(id, queue, http));

    private static async Task<Page<LogRow>> LogAsync(
        long id,
        OperationQueue queue,
        OperationLog log,
        HttpContext http,
        int? limit,
        string? cursor,
        [AsParameters] LogQuery which
    )
    {
        var (district, _) = Caller.Of(http);
        await FindAsync(id, queue, http);
        var filter = await FilterAsync(http, which);
        var size = Size(limit);
        var rows = new List<LogRow>(size);
        await foreach (var row in log.ReadAsync(district.Id, id, filter, cursor is null ? 0 : Number(cursor), http.RequestAborted))
        {
            rows.Add(row);
            if (rows.Count == size)
            {
                break;
            }
        }

        return new(rows, rows.Count < size ? null : Cursor(rows[^1].Number));
    }

    private static async Task LogCsvAsync(
        long id,
        OperationQueue queue,
        OperationLog log,
        HttpContext http,
        [AsParameters] LogQuery which
    ) => await SendLogAsync(id, "csv", queue, log, http, await FilterAsync(http, which));

    private static async Task LogLinesAsync(
        long id,
        OperationQueue queue,
        OperationLog log,
        HttpContext http,
        [AsParameters] LogQuery which
    ) => await SendLogAsync(id, "jsonl", queue, log, http, await FilterAsync(http, which));

    private static async Task SendLogAsync(
        long id,
        string format,
        OperationQueue queue,
        OperationLog log,
        HttpContext http,
        LogFilter filter
    )
    {
        var (district, actor) = Caller.Of(http);
        await FindAsync(id, queue, http);
        await LogDownload.StreamAsync(http, id, format, district, actor, queue, log, filter);
    }

    private static async Task<LogFilter> FilterAsync(HttpContext http, LogQuery which)
    {
        var (outcome, site, warnings, held, q) = which;
        var noSite = site == PatronQuery.NoSiteWord;
        var of =
            Text.Clean(site) is { } code && !noSite
                ? await SiteAsync(http.RequestServices.GetRequiredService<SiteService>(), Caller.Of(http).District, code, http)
                : null;
        return new(
            Text.Clean(outcome) is { } word ? Known(word, "outcome", Enum.GetValues<Outcome>(), OperationLog.OutcomeWord) : null,
            of?.Id,
            warnings,
            held,
            Text.Clean(q) is { } search ? Text.Cut(search, 200) : null
        )
        {
            NoSite = noSite,
        };
    }

    private static async Task<IReadOnlyList<SkipCount>> SkipsAsync(long id, OperationQueue queue, OperationLog log, HttpContext http)
    {
        await FindAsync(id, queue, http);
        return await log.SkipsAsync(Caller.Of(http).District.Id, id, LargestPage, http.RequestAborted);
    }

    private static async Task<Accepted<Started>> ApproveAsync(long id, OperationQueue queue, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await FindAsync(id, queue, http);
        await queue.ApproveAsync(district.Id, id, actor, http.RequestAborted);
        return Accepted(id, isNew: true);
    }

    private static async Task<Accepted<Started>> DiscardAsync(long id, OperationQueue queue, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await FindAsync(id, queue, http);
        await queue.DiscardAsync(district.Id, id, actor.Name, http.RequestAborted);
        return Accepted(id, isNew: false);
    }

    private static async Task<Accepted<Started>> CancelAsync(long id, OperationQueue queue, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await FindAsync(id, queue, http);
        await queue.CancelAsync(district.Id, id, actor.Name, http.RequestAborted);
        return Accepted(id, isNew: false);
    }

    private static async Task<Accepted<Started>> UndoAsync(long id, UndoBody body, OperationQueue queue, UndoService undo, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await FindAsync(id, queue, http);
        var patron = Text.Clean(body.Patron);
        SeenPatron? seen = patron is null
            ? null
            : SeenPatron.Parse(body.Version)
                ?? throw new RollcallException(
                    "Barcodes change hands. Say whom you have seen: the version of the patron, as /patrons/{barcode} has it."
                );
        return Accepted(await undo.EnqueueAsync(district.Id, id, patron, actor, seen, http.RequestAborted), isNew: true);
    }

    private static async Task<Operation> FindAsync(long id, OperationQueue queue, HttpContext http)
    {
        try
        {
            return await queue.GetAsync(Caller.Of(http).District.Id, id, http.RequestAborted);
        }
        catch (RollcallException)
        {
            throw new NotFoundException($"There is no operation {id}. /operations lists those there are.");
        }
    }

    // Review

    private static async Task<Page<ReviewItemView>> ReviewAsync(
        ReviewService review,
        SiteService sites,
        HttpContext http,
        bool decided = false,
        string? search = null,
        string? site = null,
        string? reason = null,
        int? limit = null,
        string? cursor = null
    )
    {
        var (district, _) = Caller.Of(http);
        var size = Size(limit);
        var after = cursor is null ? 0 : Number(cursor);
        var filter = new ReviewFilter(
            search is null ? null : Text.Cut(search, 200),
            Text.Clean(reason),
            site is null ? null : [(await SiteAsync(sites, district, site, http)).Id]
        );
        var ids = await review.FindAsync(district.Id, filter, decided: decided, cancellationToken: http.RequestAborted);
        int[] shown = [.. ids.Where(i => i > after).Take(size)];
        var rows = await review.RowsAsync(district.Id, shown, http.RequestAborted);
        return new(
            [
                .. rows.Select(r => new ReviewItemView(
                    r.Id,
                    r.Guid,
                    r.Name,
                    r.RoleGroup,
                    r.Status,
                    r.Reason,
                    r.Site,
                    r.Candidates,
                    r.DecidedBy,
                    r.Values.ToDictionary(v => PatronFields.ByNumber(v.Key).Name, v => v.Value, StringComparer.Ordinal)
                )),
            ],
            shown.Length < size ? null : Cursor(shown[^1])
        );
    }

    private static async Task<Decided> LinkAsync(int id, LinkBody body, ReviewDecisions decisions, ReviewService review, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await WaitsAsync(id, review, http);
        return View(await decisions.LinkAsync(district.Id, id, body.Barcode, actor, cancellationToken: http.RequestAborted));
    }

    private static async Task<Decided> CreateAsync(int id, ReviewDecisions decisions, ReviewService review, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await WaitsAsync(id, review, http);
        return View(await decisions.CreateAsync(district.Id, id, actor, http.RequestAborted));
    }

    private static async Task<Decided> IgnoreAsync(int id, ReviewDecisions decisions, ReviewService review, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await WaitsAsync(id, review, http);
        return View(await decisions.IgnoreAsync(district.Id, id, actor, http.RequestAborted));
    }

    private static async Task<Decided> ReopenAsync(int id, ReviewDecisions decisions, ReviewService review, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        await WaitsAsync(id, review, http);
        return View(await decisions.ReopenAsync(district.Id, id, actor, http.RequestAborted));
    }

    private static async Task WaitsAsync(int id, ReviewService review, HttpContext http)
    {
        if (!await review.HasAsync(Caller.Of(http).District.Id, id, http.RequestAborted))
        {
            throw new NotFoundException(
                $"There is nobody in Review under {id}. /review lists who waits, /review?decided=true who was decided on."
            );
        }
    }

    private static Decided View(ReviewDecision decision) => new(decision.OperationId, decision.Barcode, decision.Message);

    // Patrons

    private static async Task<PatronPage> PatronsAsync(
        PatronService patrons,
        SiteService sites,
        TimeProvider time,
        HttpContext http,
        string? search = null,
        string? site = null,
        string? status = null,
        string? level = null,
        string? homeroom = null,
        string? roleGroup = null,
        bool? linked = null,
        bool? gone = null,
        string? changedSince = null,
        int? limit = null,
        string? cursor = null
    )
    {
        var (district, _) = Caller.Of(http);
        var asOf = time.GetUtcNow() - s_inFlight;
        var size = Size(limit);
        var choice = new PatronChoice
        {
            Search = search,
            Site = site,
            Status = status,
            Level = level,
            Homeroom = homeroom,
            RoleGroup = roleGroup,
            Linked = linked,
            Gone = gone,
        };
        var filter = await FilterAsync(choice, sites, district, http) with
        {
            ChangedSince = changedSince is null ? null : Arguments.Instant(changedSince, "changedSince", district),
        };
        var byChange = filter.ChangedSince is not null;
        var rows = await patrons.NextAsync(district.Id, filter, After(cursor, byChange), byChange, size, http.RequestAborted);
        var codes = (await sites.ListAsync(district.Id, http.RequestAborted)).ToDictionary(s => s.Id);
        return new(
            [.. rows.Select(r => Document(r.Patron, r.Link, codes))],
            rows.Count < size ? null
                : byChange ? Cursor(rows[^1].Patron.UpdatedAt.ToUnixTimeMilliseconds(), rows[^1].Patron.Id)
                : Cursor(rows[^1].Patron.Id),
            asOf
        );
    }

    private static async Task<PatronFilter> FilterAsync(PatronChoice choice, SiteService sites, District district, HttpContext http) =>
        new(
            choice.Search is null ? null : Text.Cut(choice.Search, 200),
            choice.Site is null or PatronQuery.NoSiteWord ? null : (await SiteAsync(sites, district, choice.Site, http)).Id,
            choice.Status is null
                ? null
                : PatronFields.ParseStatus(choice.Status) ?? throw new RollcallException($"'{Text.Cut(choice.Status, 40)}' is no status."),
            choice.Level
        )
        {
            NoSite = choice.Site == PatronQuery.NoSiteWord,
            Location = choice.Homeroom,
            RoleGroup = RoleGroupOf(choice.RoleGroup),
            Linked = choice.Linked,
            Gone = choice.Gone,
            Barcodes = choice.Barcodes,
        };

    /// <summary>Somebody in particular is meant: a body that was sent without its filter does not reach everybody.</summary>
    private static Task<PatronFilter> SomeAsync(PatronChoice choice, SiteService sites, District district, HttpContext http)
    {
        if (choice == new PatronChoice())
        {
            throw new RollcallException("Say which patrons: search, site, status, level, homeroom, roleGroup, linked, gone or barcodes.");
        }

        // A form sends what was left blank as an empty text: that is not everybody.
        string?[] texts = [choice.Search, choice.Site, choice.Status, choice.Level, choice.Homeroom, choice.RoleGroup];
        if (texts.Any(t => t is not null && Text.Fold(Text.Clean(t)).Length == 0))
        {
            throw new RollcallException("A member of patrons is blank, which chooses nobody. Leave out what does not choose.");
        }

        return choice.Barcodes is { Count: 0 or > MostBarcodes }
            ? throw new RollcallException($"barcodes names 1 to {MostBarcodes} patrons.")
            : FilterAsync(choice, sites, district, http);
    }

    private static async Task<Accepted<Started>> ChangeManyAsync(BulkChangeBody body, PatronBulk bulk, SiteService sites, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        var filter = await SomeAsync(body.Patrons, sites, district, http);
        return Accepted(
            await bulk.PlanEditAsync(district.Id, filter, [.. body.Fields], body.Preview != false, actor, http.RequestAborted),
            isNew: true
        );
    }

    private static async Task<Accepted<Started>> RemoveManyAsync(BulkRemovalBody body, PatronBulk bulk, SiteService sites, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        var filter = await SomeAsync(body.Patrons, sites, district, http);
        var preview = body.Preview != false;

        // Of those who are named alone, each has to be there.
        var id =
            body.Patrons.Barcodes is { } named && body.Patrons == new PatronChoice { Barcodes = named }
                ? await bulk.PlanRemovalAsync(district.Id, named, preview, actor, http.RequestAborted)
                : await bulk.PlanRemovalAsync(district.Id, filter, preview, actor, http.RequestAborted);
        return Accepted(id, isNew: true);
    }

    private static Task PatronsCsvAsync(PatronService patrons, SiteService sites, HttpContext http, [AsParameters] ChoiceQuery which) =>
        SendPatronsAsync("csv", patrons, sites, which, http);

    private static Task PatronLinesAsync(PatronService patrons, SiteService sites, HttpContext http, [AsParameters] ChoiceQuery which) =>
        SendPatronsAsync("jsonl", patrons, sites, which, http);

    private static async Task SendPatronsAsync(string format, PatronService patrons, SiteService sites, ChoiceQuery which, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        var filter = await FilterAsync(which.Choice, sites, district, http);
        await patrons.NoteExportAsync(
            district.Id,
            $"patrons.{format} over the API",
            filter.InWords(
                (await sites.ListAsync(district.Id, http.RequestAborted)).FirstOrDefault(s => s.Id == filter.Site)?.Name,
                kept: true
            ),
            await patrons.CountAsync(district.Id, filter, http.RequestAborted),
            actor,
            http.RequestAborted
        );
        await PatronDownload.WriteAsync(http, format, PatronWords.CsvHeader, district, filter, patrons, sites);
    }

    private static async Task<IReadOnlyList<PatronCount>> PatronCountsAsync(PatronService patrons, SiteService sites, HttpContext http)
    {
        var (district, _) = Caller.Of(http);
        var codes = (await sites.ListAsync(district.Id, http.RequestAborted)).ToDictionary(s => s.Id, s => s.Code);
        return
        [
            .. (await patrons.CountsAsync(district.Id, http.RequestAborted))
                .Select(c => new PatronCount(
                    c.SiteId is { } id ? codes.GetValueOrDefault(id) : null,
                    PatronFields.StatusWord(c.Status),
                    c.Count
                ))
                .OrderBy(c => c.Site, StringComparer.Ordinal)
                .ThenBy(c => c.Status, StringComparer.Ordinal),
        ];
    }

    private static Task<Page<PatronDocument>> ArrivalsAsync(
        SiteService sites,
        Reading reading,
        TimeProvider time,
        HttpContext http,
        string? since = null,
        string? site = null,
        string? card = null,
        int? limit = null,
        string? cursor = null
    ) =>
        card is null or "all"
            ? MovedAsync(left: false, sites, reading, time, http, since, site, limit, cursor, cardless: card is null)
            : throw new RollcallException(
                $"'{Text.Cut(card, 40)}' is no choice: card=all lists everybody who came, without it those without a card."
            );

    private static Task<Page<PatronDocument>> LeaversAsync(
        SiteService sites,
        Reading reading,
        TimeProvider time,
        HttpContext http,
        string? since = null,
        string? site = null,
        int? limit = null,
        string? cursor = null
    ) => MovedAsync(left: true, sites, reading, time, http, since, site, limit, cursor, cardless: false);

    /// <summary>The lists that a school prints; thirty days back without being told, as on their page.</summary>
    private static async Task<Page<PatronDocument>> MovedAsync(
        bool left,
        SiteService sites,
        Reading reading,
        TimeProvider time,
        HttpContext http,
        string? since,
        string? site,
        int? limit,
        string? cursor,
        bool cardless
    )
    {
        var (district, _) = Caller.Of(http);
        var size = Size(limit);
        var after = cursor is null ? null : PlaceOf(cursor);
        var codes = (await sites.ListAsync(district.Id, http.RequestAborted)).ToDictionary(s => s.Id);
        var people = await reading.MovedAsync(
            district.Id,
            left,
            since is null ? time.GetUtcNow().AddDays(-30) : Arguments.Instant(since, "since", district),
            site is null ? null : (await SiteAsync(sites, district, site, http)).Id,
            null,
            size,
            http.RequestAborted,
            after,
            cardless
        );
        return new([.. people.Select(p => Document(p, null, codes))], people.Count < size ? null : CursorAt(people[^1]));
    }

    private static string CursorAt(Patron last) =>
        Microsoft.AspNetCore.WebUtilities.WebEncoders.Base64UrlEncode(
            JsonSerializer.SerializeToUtf8Bytes(new HomeroomPlace(last.Location, last.NameKey, last.Id))
        );

    private static HomeroomPlace PlaceOf(string cursor)
    {
        try
        {
            return
                JsonSerializer.Deserialize<HomeroomPlace>(Microsoft.AspNetCore.WebUtilities.WebEncoders.Base64UrlDecode(cursor))
                    is { NameKey: { } name } place
                && !name.Contains('\0', StringComparison.Ordinal)
                && place.Location?.Contains('\0', StringComparison.Ordinal) != true
                ? place
                : throw BadCursor();
        }
        catch (Exception e) when (e is FormatException or JsonException)
        {
            throw BadCursor();
        }
    }

    private static async Task<IReadOnlyList<FilterView>> FiltersAsync(SavedFilters filters, HttpContext http) =>
        [
            .. (await filters.ListAsync(Caller.Of(http).District.Id, OwnerOf(http), http.RequestAborted)).Select(f => new FilterView(
                f.Name,
                f.Query.TrimStart('?')
            )),
        ];

    private static async Task<FilterView> SaveFilterAsync(NewFilter body, SavedFilters filters, SiteService sites, HttpContext http)
    {
        var (district, _) = Caller.Of(http);
        var kept = Pages.PatronsModel.Kept(body.Query, await sites.ListAsync(district.Id, http.RequestAborted));
        await filters.SaveAsync(district.Id, OwnerOf(http), body.Name, kept, http.RequestAborted);
        return new(Text.Clean(body.Name)!, kept.TrimStart('?'));
    }

    private static async Task<NoContent> RemoveFilterAsync(string name, SavedFilters filters, HttpContext http)
    {
        return await filters.RemoveAsync(Caller.Of(http).District.Id, OwnerOf(http), Unescaped(name), http.RequestAborted)
            ? TypedResults.NoContent()
            : throw new NotFoundException($"There is no filter {Text.Cut(name, 40)}. /filters lists those there are.");
    }

    /// <summary>Saved filters are somebody's own: those of whoever made the token.</summary>
    private static string OwnerOf(HttpContext http) =>
        Caller.Of(http).Grant switch
        {
            { AccountId: { } account } => SavedFilters.OwnerOfAccount(account),
            { PatronId: { } patron } => SavedFilters.OwnerOf(patron),
            _ => throw new RollcallException(
                "Saved filters are a person's own, and nobody made this token on the pages: it is the installation's. Make one under Preferences, Access Tokens."
            ),
        };

    private static async Task<Created<SavedPatron>> AddPatronAsync(
        NewPatronBody body,
        PatronService patrons,
        SiteService sites,
        HttpContext http
    )
    {
        var (district, actor) = Caller.Of(http);
        var codes = (await sites.ListAsync(district.Id, http.RequestAborted)).ToDictionary(s => s.Id);
        var patron = await patrons.AddAsync(district.Id, [.. body.Fields], actor, cancellationToken: http.RequestAborted);
        return Created(
            $"/patrons/{Uri.EscapeDataString(patron.Barcode)}",
            new SavedPatron(Document(patron, null, codes), await patrons.DoubtAsync(patron, null, http.RequestAborted))
        );
    }

    private static async Task<Accepted<Started>> ImportAsync(
        PatronImport import,
        HttpContext http,
        bool preview = true,
        string? fileName = null
    )
    {
        var (district, actor) = Caller.Of(http);
        var id = await import.PlanAsync(
            district.Id,
            http.Request.Body,
            Text.Clean(fileName) is { } name ? Text.Cut(name, 200) : "api.csv",
            preview,
            actor,
            arrived: async () => (await ApiGate.LookAgainAsync(http)).Actor,
            cancellationToken: http.RequestAborted
        );
        return Accepted(id, isNew: true);
    }

    private static async Task<PatronDocument> PatronAsync(string barcode, PatronService patrons, SiteService sites, HttpContext http)
    {
        var (district, _) = Caller.Of(http);
        var (patron, link) = await FindAsync(barcode, patrons, district, http);
        return Document(patron, link, (await sites.ListAsync(district.Id, http.RequestAborted)).ToDictionary(s => s.Id));
    }

    private static async Task<SavedPatron> ChangePatronAsync(
        string barcode,
        PatronPatch body,
        PatronService patrons,
        SiteService sites,
        HttpContext http
    )
    {
        var (district, actor) = Caller.Of(http);
        var (patron, _) = await FindAsync(barcode, patrons, district, http);
        SeenPatron? seen = body.Version is not { } version
            ? null
            : SeenPatron.Parse(version)
                ?? throw new RollcallException($"'{Text.Cut(version, 40)}' is no version: give the one that the patron came with.");
        var saved = await patrons.EditAsync(district.Id, patron.Barcode, [.. body.Fields], actor, seen, http.RequestAborted);
        return new SavedPatron(
            await PatronAsync(saved.Barcode, patrons, sites, http),
            await patrons.DoubtAsync(saved, patron, http.RequestAborted)
        );
    }

    private static async Task<Page<HistoryItem>> HistoryAsync(
        string barcode,
        PatronService patrons,
        OperationLog log,
        HttpContext http,
        int? limit = null,
        string? cursor = null
    )
    {
        var (district, _) = Caller.Of(http);
        var (patron, _) = await FindAsync(barcode, patrons, district, http);
        var size = Size(limit);
        (long, long)? after =
            cursor is null ? null
            : Numbers(cursor) is [var operation, var number] ? (operation, number)
            : throw BadCursor();
        var lines =
            await log.HistoryAfterAsync(district.Id, patron.Id, size, after, http.RequestAborted)
            ?? throw new RollcallException("What this cursor goes on from is not in the history any more. Begin anew without one.");
        return new(
            [
                .. lines.Select(h => new HistoryItem(
                    h.Operation.Id,
                    OperationQueue.Title(h.Operation),
                    h.Operation.WrittenAt(h.Row.Held),
                    h.Operation.RequestedBy,
                    h.Row.Kind,
                    h.Row.Changes,
                    h.Row.Reason,
                    h.Row.Warning
                )),
            ],
            lines.Count < size ? null : Cursor(lines[^1].Operation.Id, lines[^1].Row.Number)
        );
    }

    private static async Task<PatronExplanation> ExplainAsync(
        string barcode,
        PatronService patrons,
        PatronExplain explain,
        HttpContext http,
        bool askRoster = false
    )
    {
        var (district, _) = Caller.Of(http);
        var (patron, _) = await FindAsync(barcode, patrons, district, http);
        return await explain.ExplainAsync(district, patron.Barcode, askRoster, http.RequestAborted);
    }

    private static async Task<Accepted<Started>> MergeAsync(
        string barcode,
        MergeBody body,
        PatronService patrons,
        PatronMerge merge,
        HttpContext http
    )
    {
        var (district, actor) = Caller.Of(http);
        var (patron, _) = await FindAsync(barcode, patrons, district, http);
        return Accepted(
            await merge.MergeAsync(district.Id, patron.Barcode, body.Other, actor, cancellationToken: http.RequestAborted),
            isNew: true
        );
    }

    private static async Task<IResult> DataAsync(string barcode, PatronErasure erasure, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        return Results.Content(
            await KeptAsync(() => erasure.DataAsync(district, Unescaped(barcode), actor, http.RequestAborted)),
            "application/json; charset=utf-8"
        );
    }

    private static Task<ErasurePreview> ErasurePreviewAsync(string barcode, PatronErasure erasure, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        return KeptAsync(() => erasure.PreviewAsync(district.Id, Unescaped(barcode), actor, http.RequestAborted));
    }

    private static async Task<Accepted<Started>> EraseAsync(string barcode, EraseBody body, PatronErasure erasure, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        var asked = Unescaped(barcode);
        return string.Equals(asked, body.Barcode, StringComparison.OrdinalIgnoreCase)
            ? Accepted(
                await KeptAsync(() => erasure.EnqueueAsync(district.Id, asked, actor, cancellationToken: http.RequestAborted)),
                isNew: true
            )
            : throw new RollcallException("The barcode in the body is another one than in the address. Nothing was erased.");
    }

    private static async Task<T> KeptAsync<T>(Func<Task<T>> find)
    {
        try
        {
            return await find();
        }
        catch (RollcallException e) when (e.IsNobody)
        {
            throw new NotFoundException(e.Message);
        }
    }

    /// <summary>A barcode may hold a slash, which routing leaves as it came; none holds a percent sign.</summary>
    private static string Unescaped(string barcode) => barcode.Replace("%2F", "/", StringComparison.OrdinalIgnoreCase);

    private static async Task<(Patron Patron, PatronLink? Link)> FindAsync(
        string barcode,
        PatronService patrons,
        District district,
        HttpContext http
    )
    {
        return await KeptAsync(() => patrons.GetAsync(district.Id, Unescaped(barcode), http.RequestAborted));
    }

    private static PatronDocument Document(Patron patron, PatronLink? link, IReadOnlyDictionary<int, Site> sites) =>
        new(PatronWords.Of(patron, sites))
        {
            ["linked"] = link is not null,
            ["roleGroup"] = link is null or { RoleGroup: RoleGroup.None } ? null : Arguments.Word(link.RoleGroup),
            ["aliases"] = link?.Aliases?.Split('\n', StringSplitOptions.RemoveEmptyEntries) ?? [],
            ["createdAt"] = JsonText.Instant(patron.CreatedAt),
            ["updatedAt"] = JsonText.Instant(patron.UpdatedAt),
            ["version"] = SeenPatron.Of(patron).ToString(),
        };

    // Answers and pages

    private static Created<T> Created<T>(string path, T body) => TypedResults.Created($"{ApiGate.Root}/{Version}{path}", body);

    private static Accepted<Started> Accepted(long id, bool isNew) =>
        TypedResults.Accepted(
            string.Create(CultureInfo.InvariantCulture, $"{ApiGate.Root}/{Version}/operations/{id}"),
            new Started(id, isNew)
        );

    internal static int Size(int? limit) =>
        limit switch
        {
            null => DefaultPage,
            < 1 or > LargestPage => throw new RollcallException($"limit is from 1 to {LargestPage}."),
            { } size => size,
        };

    internal static string Cursor(params long[] numbers) =>
        Microsoft.AspNetCore.WebUtilities.WebEncoders.Base64UrlEncode(
            Encoding.ASCII.GetBytes(string.Join('.', numbers.Select(n => n.ToString(CultureInfo.InvariantCulture))))
        );

    private static (DateTimeOffset UpdatedAt, long Id)? After(string? cursor, bool byChange) =>
        cursor is null ? null
        : Numbers(cursor) is var numbers && byChange
            ? numbers is [var at and >= 0 and < 253_402_300_800_000, var id] ? (DateTimeOffset.FromUnixTimeMilliseconds(at), id)
                : throw BadCursor()
        : numbers is [var alone] ? (default, alone)
        : throw BadCursor();

    internal static long Number(string cursor) => Numbers(cursor) is [var number] ? number : throw BadCursor();

    private static long[] Numbers(string cursor)
    {
        try
        {
            return
            [
                .. Encoding
                    .ASCII.GetString(Microsoft.AspNetCore.WebUtilities.WebEncoders.Base64UrlDecode(cursor))
                    .Split('.')
                    .Select(n => long.Parse(n, NumberStyles.None, CultureInfo.InvariantCulture)),
            ];
        }
        catch (Exception e) when (e is FormatException or OverflowException)
        {
            throw BadCursor();
        }
    }

    private static RollcallException BadCursor() =>
        new("This cursor is not one of this list's. Give the 'next' of the page before, with the same filters.");
}
