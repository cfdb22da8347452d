using System.Text.Json;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Tests.Api.Generated;
using Rollcall.Server.Tests.Pages;
using Rollcall.SignIn;

namespace Rollcall.Server.Tests.Api;

/// <summary>A client that a generator made from the OpenAPI document does what a program does: from an empty installation to a log.</summary>
public abstract class ApiStory(Library library)
{
    [Fact]
    public async Task A_generated_client_connects_matches_previews_approves_and_reads_the_log()
    {
        var (_, operatorsToken) = await library
            .Service<AccessTokens>()
            .CreateAsync(null, "operator", default, default, TimeSpan.FromDays(1), "test");
        using var operatorsHttp = Http(operatorsToken);
        var installation = new RollcallClient(operatorsHttp);
        Assert.Equal("ok", (await installation.HealthAsync()).Status);
        await installation.AddDistrictAsync(
            new NewDistrict
            {
                Code = "API",
                Name = "By a program",
                TimeZone = "America/New_York",
            }
        );
        var district = (await library.Service<DistrictService>().ListAsync()).Single(d => d.Code == "API");
        var (_, token) = await library
            .Service<AccessTokens>()
            .CreateAsync(
                district,
                "program",
                SecurityGroup.DistrictAdministrator,
                AccessTokens.AllOfDistrict,
                TimeSpan.FromDays(1),
                "test"
            );
        using var http = Http(token);
        var client = new RollcallClient(http);
        Assert.Equal("API", Assert.Single(await client.DistrictsAsync()).Code);

        // A tenant that the operator has not allowed is not taken, and the partner key goes nowhere that a district says.
        var direct = new ConnectBody
        {
            Mode = "direct",
            TenantId = library.Sandbox.Options.TenantId,
            Url = library.Sandbox.Url.GetLeftPart(UriPartial.Authority),
            Key = library.Sandbox.Options.ConsumerKey,
            Secret = library.Sandbox.Options.ConsumerSecret,
        };
        Assert.Contains("operator", await RefusedAsync(() => client.ConnectAsync("classlink", direct)), StringComparison.Ordinal);
        await installation.AllowTenantAsync("API", new AllowedTenant { TenantId = library.Sandbox.Options.TenantId });
        await installation.StorePartnerKeyAsync(new NewPartnerKey { Key = library.Sandbox.Options.PartnerKey });
        Assert.Contains(
            "partner key is sent to ClassLink",
            await RefusedAsync(() =>
                client.ConnectAsync(
                    "classlink",
                    new ConnectBody
                    {
                        Mode = "proxy",
                        TenantId = library.Sandbox.Options.TenantId,
                        Url = library.Sandbox.Url.GetLeftPart(UriPartial.Authority),
                    }
                )
            ),
            StringComparison.Ordinal
        );

        Assert.Equal("direct", (await client.ConnectAsync("classlink", direct)).Mode);
        Assert.Contains("Connected", (await client.TestConnectionAsync("classlink")).Message, StringComparison.Ordinal);
        var orgs = (await client.OrgsAsync("classlink")).Where(o => o.Type == "school").ToList();
        await client.AddSiteAsync(
            new NewSite
            {
                Code = "A1",
                Name = "The first",
                NextBarcode = "A100001",
            }
        );
        await client.MatchAsync("classlink", new MatchBody { Site = "A1", Org = orgs[0].SourcedId });
        Assert.Contains(
            "Unmatch it first",
            await RefusedAsync(() => client.NotServedAsync("classlink", new OrgBody { Org = orgs[0].SourcedId })),
            StringComparison.Ordinal
        );
        Assert.Equal(orgs[1].SourcedId, (await client.NotServedAsync("classlink", new OrgBody { Org = orgs[1].SourcedId })).Org);
        Assert.Equal(orgs[1].SourcedId, Assert.Single(await client.OrgsAsync("classlink"), o => o.NotServed).SourcedId);
        await client.ServedAsync("classlink", orgs[1].SourcedId);
        Assert.DoesNotContain(await client.OrgsAsync("classlink"), o => o.NotServed);
        Assert.Equal(
            404,
            (await Assert.ThrowsAsync<ApiException<ApiProblem>>(() => client.ServedAsync("classlink", orgs[1].SourcedId))).StatusCode
        );
        Assert.Empty(Assert.Single(await client.SitesAsync()).RoleGroups);
        await client.ChangeSiteAsync("A1", new SitePatch { NextBarcode = "T100001", RoleGroup = "teacher" });
        var teachers = Assert.Single(Assert.Single(await client.SitesAsync()).RoleGroups);
        Assert.Equal(("teacher", "T100001", null, null), (teachers.RoleGroup, teachers.NextBarcode, teachers.Policy, teachers.Group));
        List<NewSiteOfOrg> wanted = [.. orgs.Skip(1).Select((o, i) => new NewSiteOfOrg { Org = o.SourcedId, Code = $"A{i + 2}" })];
        Assert.Contains(
            "named twice",
            await RefusedAsync(() => client.AddSitesAsync("classlink", new NewSitesBody { Sites = [.. wanted, wanted[0]] })),
            StringComparison.Ordinal
        );
        Assert.Single(await client.SitesAsync());
        var sites = await client.AddSitesAsync("classlink", new NewSitesBody { Sites = wanted });
        Assert.Equal(wanted.Select(w => (w.Org, w.Code)), sites.Select(s => (s.Org, (string?)s.Site)));
        Assert.All(
            await client.OrgsAsync("classlink"),
            o => Assert.True(o.Type != "school" || (o.Site is not null && o.ProposedCode is null))
        );

        var settings = await client.ChangeIntegrationAsync(
            "classlink",
            new SettingsPatch
            {
                Roles = ["student", "teacher"],
                Map = new Dictionary<string, string> { ["community-id"] = "identifier", ["nickname"] = "preferred-name" },
                Thresholds = new Dictionary<string, ThresholdBody>
                {
                    ["transfers"] = new() { Percent = 5, Count = 20 },
                },
                Schedule = new Schedule { Daily = "04:30", Mode = "full" },
            }
        );
        Assert.Equal(["student", "teacher"], settings.Roles);
        Assert.Equal("identifier", settings.Map["communityId"]);
        Assert.Equal("preferred-name", (await client.IntegrationAsync("classlink")).Map["nickname"]);
        Assert.Contains(
            "The nickname cannot come from 'username'",
            await RefusedAsync(() =>
                client.ChangeIntegrationAsync(
                    "classlink",
                    new SettingsPatch { Map = new Dictionary<string, string> { ["nickname"] = "username" } }
                )
            ),
            StringComparison.Ordinal
        );
        Assert.Equal(20, settings.Thresholds["transfers"].Count);
        Assert.Contains(
            "No roster service is on",
            await RefusedAsync(() => client.StartSyncAsync(new SyncBody())),
            StringComparison.Ordinal
        );
        Assert.True((await client.TurnOnAsync("classlink", new TurnOnBody { Clear = false })).Enabled);
        Assert.True((await client.ReadinessAsync("classlink")).RosterPeople > 0);

        var started = await client.StartSyncAsync(new SyncBody { Preview = true }, "preview-1");
        Assert.Equal(started.Operation, (await client.StartSyncAsync(new SyncBody { Preview = true }, "preview-1")).Operation);
        var preview = await EndAsync(client, started.Operation);
        Assert.Equal("preview", preview.Status);
        Assert.Empty((await client.PatronsAsync()).Items);
        await client.ApproveAsync(started.Operation, "approve-1");
        var done = await EndAsync(client, started.Operation);
        Assert.StartsWith("completed", done.Status, StringComparison.Ordinal);
        Assert.Equal("program (token", done.ApprovedBy![..14]);

        var lines = new List<LogRow>();
        string? cursor = null;
        do
        {
            var page = await client.OperationLogAsync(started.Operation, 100, cursor);
            lines.AddRange(page.Items);
            cursor = page.Next;
        } while (cursor is not null);

        Assert.Equal(done.Created, lines.Count(l => l.Outcome == "created"));
        Assert.Equal(lines.Count, lines.Select(l => l.Number).Distinct().Count());
        var csv = await http.GetStringAsync(new Uri($"/api/v1/operations/{started.Operation}/log.csv", UriKind.Relative));
        Assert.Contains(lines[0].Barcode!, csv, StringComparison.Ordinal);

        var one = (await client.PatronsAsync(limit: 1, linked: true)).Items.Single();
        Assert.Equal(one.LastName, (await client.PatronAsync(one.Barcode)).LastName);
        Assert.Equal(started.Operation, (await client.PatronHistoryAsync(one.Barcode)).Items.Single().Operation);
        Assert.NotEmpty((await client.ExplainPatronAsync(one.Barcode)).Fields);
        Assert.Contains(
            "Say whom you have seen",
            await RefusedAsync(() => client.UndoAsync(started.Operation, new UndoBody { Patron = one.Barcode })),
            StringComparison.Ordinal
        );
        var another = (await client.PatronsAsync(limit: 2, linked: true)).Items.Last();
        Assert.NotEqual(one.Barcode, another.Barcode);
        await RefusedAsync(() => client.UndoAsync(started.Operation, new UndoBody { Patron = one.Barcode, Version = another.Version }));
        var undo = await client.UndoAsync(started.Operation, new UndoBody { Patron = one.Barcode, Version = one.Version }, "undo-1");
        Assert.Equal("completed", (await EndAsync(client, undo.Operation)).Status);
        Assert.Contains("no patron with the barcode", await RefusedAsync(() => client.PatronAsync(one.Barcode)), StringComparison.Ordinal);

        // A Student # that another patron has is taken, and said.
        var words = $"Student # {another.CommunityId} is another patron's, too.";
        var fields = new Dictionary<string, string>
        {
            ["barcode"] = "TWIN1",
            ["lastName"] = "Byron",
            ["communityId"] = another.CommunityId!,
        };
        var twin = await client.AddPatronAsync(new NewPatronBody { Fields = fields }, "twin-1");
        Assert.StartsWith(words, Assert.Single(twin.Warnings), StringComparison.Ordinal);
        Assert.Equal(twin.Warnings, (await client.AddPatronAsync(new NewPatronBody { Fields = fields }, "twin-1")).Warnings);
        Assert.Empty((await SetAsync("notes", "seen")).Warnings);
        Assert.Empty((await SetAsync("communityId", "nobody else's")).Warnings);
        Assert.StartsWith(words, Assert.Single((await SetAsync("communityId", another.CommunityId!)).Warnings), StringComparison.Ordinal);

        Task<SavedPatron> SetAsync(string field, string value) =>
            client.ChangePatronAsync(twin.Barcode, new PatronPatch { Fields = new Dictionary<string, string> { [field] = value } });
    }

    private static async Task<string> RefusedAsync<T>(Func<Task<T>> act) =>
        (await Assert.ThrowsAsync<ApiException<ApiProblem>>(async () => await act())).Result.Detail;

    private async Task<OperationDetails> EndAsync(RollcallClient client, long id)
    {
        await library.EndOfAsync((await library.Service<DistrictService>().ListAsync()).Single(d => d.Code == "API").Id, id);
        return await client.OperationAsync(id);
    }

    protected HttpClient Http(string token)
    {
        var http = new HttpClient { BaseAddress = library.Url };
        http.DefaultRequestHeaders.Authorization = new("Bearer", token);
        return http;
    }
}

/// <inheritdoc cref="ApiStory"/>
public sealed class PostgresApiStoryTests(PostgresEmptyLibrary library) : ApiStory(library), IClassFixture<PostgresEmptyLibrary>;

/// <summary>The same on SQLite, the document itself, and its fitting the client.</summary>
public sealed class ApiStoryTests(EmptyLibrary library) : ApiStory(library), IClassFixture<EmptyLibrary>
{
    private readonly EmptyLibrary _library = library;

    private static string DocumentPath => Path.Combine(Root(), "docs", "openapi.json");

    [Fact]
    public async Task The_document_that_is_checked_in_is_the_servers()
    {
        using var http = new HttpClient { BaseAddress = _library.Url };
        var served = await http.GetStringAsync(new Uri("/api/v1/openapi.json", UriKind.Relative));
        if (Environment.GetEnvironmentVariable("ROLLCALL_WRITE_DOCS") == "true")
        {
            await File.WriteAllTextAsync(DocumentPath, served + "\n", TestContext.Current.CancellationToken);
            return;
        }

        // When this differs: run this test once with ROLLCALL_WRITE_DOCS=true, look at the change, and generate the client anew (CONTRIBUTING.md).
        Assert.Equal(await File.ReadAllTextAsync(DocumentPath, TestContext.Current.CancellationToken), served + "\n");
    }

    [Fact]
    public void The_client_knows_every_operation_of_the_document()
    {
        using var document = JsonDocument.Parse(File.ReadAllText(DocumentPath));
        var ids = document
            .RootElement.GetProperty("paths")
            .EnumerateObject()
            .SelectMany(p => p.Value.EnumerateObject())
            .Select(o => o.Value.GetProperty("operationId").GetString()! + "Async");
        var methods = typeof(RollcallClient).GetMethods().Select(m => m.Name).ToHashSet(StringComparer.OrdinalIgnoreCase);
        Assert.All(ids, id => Assert.Contains(id, methods));

        // Its last line says of which document it was made, not by names alone: CONTRIBUTING.md has the command.
        var print = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(DocumentPath)));
        Assert.Equal(
            $"// openapi.json {print}",
            File.ReadLines(Path.Combine(Root(), "tests", "Rollcall.Server.Tests", "Api", "RollcallClient.generated.cs")).Last()
        );
    }

    [Fact]
    public async Task Strangers_are_slowed_down_and_neither_tokens_nor_health_are_their_victims()
    {
        var (_, token) = await _library
            .Service<AccessTokens>()
            .CreateAsync(null, "unharmed", default, default, TimeSpan.FromDays(1), "test");
        using var stranger = new HttpClient { BaseAddress = _library.Url };
        var seen = new HashSet<System.Net.HttpStatusCode>();
        for (var i = 0; i < global::Rollcall.Server.Api.ApiGate.Strangers + 5 && seen.Count < 2; i++)
        {
            using var response = await stranger.GetAsync(new Uri("/api/v1/patrons", UriKind.Relative));
            seen.Add(response.StatusCode);
            Assert.True(
                response.StatusCode != System.Net.HttpStatusCode.TooManyRequests || response.Headers.RetryAfter?.Delta > TimeSpan.Zero
            );
        }

        Assert.Equal([System.Net.HttpStatusCode.Unauthorized, System.Net.HttpStatusCode.TooManyRequests], seen);
        using var http = Http(token);
        var client = new RollcallClient(http);
        await client.DistrictsAsync();
        Assert.Equal("ok", (await new RollcallClient(stranger).HealthAsync()).Status);
    }

    private static string Root()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "Rollcall.slnx")))
        {
            folder = folder.Parent ?? throw new InvalidOperationException("The tests do not run inside the repository.");
        }

        return folder.FullName;
    }
}
