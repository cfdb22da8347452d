using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Sync.Undo;
using Rollcall.Tests.Infrastructure;
using Rollcall.Tests.Sync;

namespace Rollcall.Tests.Integrations;

/// <summary>A switch of the roster service clears what the other one left, and can be taken back like any operation.</summary>
public sealed class SwitchTests(PostgresCluster cluster)
{
    [Fact]
    public void One_is_said_as_one() =>
        Assert.Equal(
            "1 patron GUID, 1 link, 1 site GUID and 1 matched organization, and the connection and secret of another service",
            new SwitchImpact(1, 1, 1, 1, 1).InWords
        );

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Another_tenant_clears_identifiers_and_an_undo_brings_everything_back(Db db)
    {
        await using var system = await StartAsync(db);
        var before = await UndoTests.PictureAsync(system);
        var rest = await RestAsync(system);
        var elsewhere = FailureTests.Elsewhere(system);
        var refused = await Assert.ThrowsAsync<RollcallException>(() =>
            system.Integrations.ConnectAsync(system.District, IntegrationKind.ClassLink, elsewhere, true, clear: false, "test")
        );
        Assert.Contains("4 patron GUIDs, 4 links, 2 site GUIDs and 2 matched organizations", refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, await UndoTests.PictureAsync(system));

        var connected = await system.Integrations.ConnectAsync(system.District, IntegrationKind.ClassLink, elsewhere, true, true, "test");
        var operation = await system.Queue.GetAsync(system.District.Id, connected.Cleared!.Value);
        Assert.Equal((OperationKind.Switch, OperationStatus.Completed), (operation.Kind, operation.Status));
        var counts = OperationQueue.CountsOf(operation);
        Assert.True(counts is { AddUp: true, Updated: 4 }, operation.Counts);
        var log = await system.LogAsync(operation.Id);
        Assert.Equal(4, log.Count);
        Assert.All(log, r => Assert.Equal((r.Guid, null), (Assert.Single(r.Changes).Old, r.Changes[0].New)));
        await using (var context = system.Database.CreateContext())
        {
            Assert.False(await context.Patrons.AnyAsync(p => p.Guid != null));
            Assert.False(await context.PatronLinks.AnyAsync());
            Assert.False(await context.Sites.AnyAsync(s => s.Guid != null));
            Assert.False(await context.SiteOrgs.AnyAsync());
            Assert.False(await context.ReviewItems.AnyAsync());
        }

        Assert.DoesNotContain(system.Sandbox.Options.Bearer, operation.Options + string.Join(' ', log), StringComparison.Ordinal);
        await Refused(() => UndoAsync(system, operation.Id, log[0].Barcode), "undone as a whole");

        // A librarian goes on working; the undo leaves that alone.
        var some = log[0].Barcode!;
        await system.Patrons.EditAsync(system.District.Id, some, [new("notes", "in between")], "librarian");
        await UndoTests.UndoAsync(system, operation.Id);
        await system.Patrons.EditAsync(system.District.Id, some, [new("notes", null)], "librarian");
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        Assert.Equal(rest, await RestAsync(system));
        Assert.Equal(OperationStatus.Undone, (await system.Queue.GetAsync(system.District.Id, operation.Id)).Status);
        await Refused(() => UndoAsync(system, operation.Id), "is undone already");

        // The old connection works, and nobody is doubled.
        var next = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 4), (next.Created, next.LinkedGuid));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Connecting_elsewhere_clears_no_more_than_was_shown(Db db)
    {
        await using var system = await StartAsync(db);
        var elsewhere = FailureTests.Elsewhere(system);
        Task<SwitchImpact> LookAsync() =>
            system.Integrations.ImpactOfConnectAsync(system.District.Id, IntegrationKind.ClassLink, elsewhere);
        var shown = await LookAsync();
        system.Sandbox.Person("p6", "Fay", "Zeta");
        await system.SyncAsync();
        var before = await UndoTests.PictureAsync(system);
        Task<ConnectResult> ConnectAsync(SwitchImpact agreed) =>
            system.Integrations.ConnectAsync(system.District, IntegrationKind.ClassLink, elsewhere, true, true, "test", agreed);
        await Refused(() => ConnectAsync(shown), "More would be cleared by now than you were shown: 5 patron GUIDs");
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        Assert.NotNull((await ConnectAsync(await LookAsync())).Cleared);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Another_server_of_the_same_number_is_a_switch_and_has_to_prove_its_tenant_anew(Db db)
    {
        await using var system = await StartAsync(db);
        var options = system.Sandbox.Options;
        var origin = system.Sandbox.Url.GetLeftPart(UriPartial.Authority);
        ConnectRequest By(ConnectionMode mode, string url) =>
            new(
                mode,
                options.TenantId,
                url,
                Key: options.ConsumerKey,
                Secret: mode == ConnectionMode.Direct ? options.ConsumerSecret : options.Bearer
            );
        async Task<bool> SwitchesAsync(ConnectRequest request) =>
            !(await system.Integrations.ImpactOfConnectAsync(system.District.Id, IntegrationKind.ClassLink, request)).IsEmpty;
        async Task<string?> ConfirmedAsync() =>
            IntegrationService
                .SettingsOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink))
                .Login.ConfirmedTenant;
        Task ConfirmAsync() => system.ConfigureAsync(s => s with { Login = s.Login with { ConfirmedTenant = options.TenantId } });
        async Task ConnectAsync(ConnectRequest request) =>
            Assert.Null(
                (await system.Integrations.ConnectAsync(system.District, IntegrationKind.ClassLink, request, true, false, "test")).Cleared
            );

        // From one way to another nothing tells, and nothing is cleared; but whose roster it is has to be proved again.
        await ConfirmAsync();
        var prefix = By(ConnectionMode.Prefix, $"{system.Sandbox.Url}{options.ApplicationId}/ims/oneroster/v1p1/");
        Assert.False(await SwitchesAsync(prefix));
        await ConnectAsync(prefix);
        Assert.Null(await ConfirmedAsync());
        await ConfirmAsync();

        // The same place written otherwise is the same place.
        await ConnectAsync(By(ConnectionMode.Prefix, $"{system.Sandbox.Url}{options.ApplicationId}"));
        Assert.Equal(options.TenantId, await ConfirmedAsync());
        Assert.True(await SwitchesAsync(By(ConnectionMode.Prefix, $"{system.Sandbox.Url}another-application")));
        await ConnectAsync(By(ConnectionMode.Direct, $"{origin}/ims/oneroster/v1p1"));
        Assert.Null(await ConfirmedAsync());
        Assert.False(await SwitchesAsync(By(ConnectionMode.Direct, origin.ToUpperInvariant())));
        var elsewhere = By(ConnectionMode.Direct, "https://other-district.example.org/ims/oneroster/v1p1");
        Assert.True(await SwitchesAsync(elsewhere));
        await Refused(
            () => system.Integrations.ConnectAsync(system.District, IntegrationKind.ClassLink, elsewhere, true, clear: false, "test"),
            "People are linked to another roster"
        );
        Assert.False(await SwitchesAsync(new ConnectRequest(ConnectionMode.Proxy, options.TenantId, system.Sandbox.Url.ToString())));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_a_newer_version_wrote_into_settings_outlives_an_older_ones_change(Db db)
    {
        await using var system = await StartAsync(db);
        const string Newer =
            """{"mode":"Proxy","later":[1],"login":{"on":true,"later":2},"daily":{"later":3},"thresholds":{"later":4},"map":{"later":5}}""";
        await using (var context = system.Database.CreateContext())
        {
            await context.Integrations.ExecuteUpdateAsync(s =>
                s.SetProperty(i => i.Settings, Newer).SetProperty(i => i.State, """{"configVersion":7,"later":6}""")
            );
        }

        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student], Login = s.Login with { ByEmail = true } });
        var row = (await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink))!;
        Assert.All(
            (string[])["\"later\":[1]", "\"later\":2", "\"later\":3", "\"later\":4", "\"later\":5", "\"byEmail\":true"],
            part => Assert.Contains(part, row.Settings, StringComparison.Ordinal)
        );
        Assert.Contains("\"later\":6", row.State, StringComparison.Ordinal);
        Assert.Contains("\"configVersion\":8", row.State, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Syncs_with_the_new_roster_are_undone_before_the_switch(Db db)
    {
        await using var system = await StartAsync(db);
        var before = await UndoTests.PictureAsync(system);
        var connected = await system.Integrations.ConnectAsync(
            system.District,
            IntegrationKind.ClassLink,
            FailureTests.Elsewhere(system),
            true,
            true,
            "test"
        );
        var number = 0;
        foreach (var school in system.Sandbox.District.Schools)
        {
            await system.Integrations.MatchAsync(system.District, IntegrationKind.ClassLink, $"S{++number}", school.SourcedId, "test");
        }

        var sync = await system.SyncAsync();
        Assert.Null(sync.Error);
        await Refused(() => UndoAsync(system, connected.Cleared!.Value), $"Undo operation {sync.Id} first");
        await UndoTests.UndoAsync(system, sync.Id);
        await UndoTests.UndoAsync(system, connected.Cleared!.Value);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Turning_another_service_on_is_taken_back_with_the_matches_of_both(Db db)
    {
        await using var system = await StartAsync(db);
        var before = await UndoTests.PictureAsync(system);

        // What a OneRoster server that is connected and matched, but off, looks like.
        await using (var context = system.Database.CreateContext())
        {
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = system.District.Id,
                    Kind = IntegrationKind.OneRoster,
                    Settings = """{"mode":"Bearer","url":"https://roster.example.org"}""",
                    Secret = "protected",
                }
            );
            await context.SaveChangesAsync();
        }

        var rest = await RestAsync(system);
        await Refused(
            async () => await system.Integrations.TurnOnAsync(system.District.Id, IntegrationKind.OneRoster, clear: false, "test"),
            "clears 4 patron GUIDs"
        );
        var shown = (await system.Integrations.ImpactsOfTurningOnAsync(system.District.Id))[IntegrationKind.OneRoster];
        Assert.Equal(shown, SwitchImpact.Parse(shown.Print));
        Assert.All((string?[])[null, "", "1-2", "1-2-3-4-x", "-1-2-3-4"], p => Assert.Null(SwitchImpact.Parse(p)));
        await Refused(
            async () =>
                await system.Integrations.TurnOnAsync(
                    system.District.Id,
                    IntegrationKind.OneRoster,
                    clear: true,
                    "test",
                    agreed: shown with
                    {
                        Guids = shown.Guids - 1,
                    }
                ),
            "More would be cleared by now"
        );
        var switched = await system.Integrations.TurnOnAsync(
            system.District.Id,
            IntegrationKind.OneRoster,
            clear: true,
            "test",
            agreed: shown with
            {
                Links = shown.Links + 1,
            }
        );
        Assert.Equal(IntegrationKind.OneRoster, (await system.Integrations.EnabledAsync(system.District.Id))!.Kind);
        Assert.Null((await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink))!.Secret);
        Assert.All(await system.AllPatronsAsync(), p => Assert.Null(p.Guid));

        await UndoTests.UndoAsync(system, switched!.Value);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        Assert.Equal(rest, await RestAsync(system));
        var next = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 4), (next.Created, next.LinkedGuid));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_is_cleared_is_what_another_service_left_whether_or_not_it_is_still_matched(Db db)
    {
        await using var system = await StartAsync(db);
        var district = system.District.Id;
        var before = await UndoTests.PictureAsync(system);
        var school = system.Sandbox.District.Schools.First().SourcedId;
        await using (var context = system.Database.CreateContext())
        {
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = district,
                    Kind = IntegrationKind.OneRoster,
                    Settings = """{"mode":"Bearer","url":"https://roster.example.org"}""",
                    Secret = "protected",
                }
            );
            context.SiteOrgs.Add(
                new SiteOrg
                {
                    DistrictId = district,
                    Kind = IntegrationKind.OneRoster,
                    OrgId = school,
                    SiteId = (await context.Sites.OrderBy(s => s.Id).FirstAsync()).Id,
                }
            );
            await context.SaveChangesAsync();
        }

        // Off and on again, with another service prepared: of that one there are matches alone, and patrons keep what is this one's.
        await system.Integrations.TurnOffAsync(district, IntegrationKind.ClassLink, "test");
        var impact = (await system.Integrations.ImpactsOfTurningOnAsync(district))[IntegrationKind.ClassLink];
        Assert.Equal(new SwitchImpact(0, 0, 0, 1, Connections: 1), impact);
        await Refused(
            async () => await system.Integrations.TurnOnAsync(district, IntegrationKind.ClassLink, clear: false, "test"),
            "clears 1 matched organization, and the connection and secret of another service"
        );
        var switched = await system.Integrations.TurnOnAsync(district, IntegrationKind.ClassLink, clear: true, "test");
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        var next = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 4), (next.Created, next.LinkedGuid));
        // What was connected again since is not overwritten.
        async Task ModeAsync(string mode)
        {
            await using var context = system.Database.CreateContext();
            await context
                .Integrations.Where(i => i.Kind == IntegrationKind.OneRoster)
                .ExecuteUpdateAsync(u => u.SetProperty(i => i.Settings, $$"""{"mode":{{mode}},"url":"https://new.example.org"}"""));
        }

        await ModeAsync("\"Bearer\"");
        await Refused(() => UndoAsync(system, switched!.Value), "has been connected again");
        await ModeAsync("null");
        await UndoTests.UndoAsync(system, switched!.Value);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        Assert.Null(await system.Integrations.EnabledAsync(district));

        // ClassLink off and not matched to anything any more: what it left on patrons is cleared all the same.
        foreach (var org in system.Sandbox.District.Schools)
        {
            await system.Integrations.UnmatchAsync(system.District, IntegrationKind.ClassLink, org.SourcedId, "test");
        }

        impact = (await system.Integrations.ImpactsOfTurningOnAsync(district))[IntegrationKind.OneRoster];
        Assert.Equal((4, 4), (impact.Guids, impact.Links));
        await Refused(
            async () => await system.Integrations.TurnOnAsync(district, IntegrationKind.OneRoster, clear: false, "test"),
            "clears 4 patron GUIDs"
        );
        await system.Integrations.TurnOnAsync(district, IntegrationKind.OneRoster, clear: true, "test");
        Assert.All(await system.AllPatronsAsync(), p => Assert.Null(p.Guid));
        Assert.True((await system.Integrations.ImpactsOfTurningOnAsync(district))[IntegrationKind.OneRoster].IsEmpty);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_switch_back_leaves_no_memory_of_the_service_that_was_tried(Db db)
    {
        await using var system = await StartAsync(db);
        var district = system.District.Id;
        await using (var context = system.Database.CreateContext())
        {
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = district,
                    Kind = IntegrationKind.OneRoster,
                    Settings = """{"mode":"Bearer","url":"https://roster.example.org"}""",
                    Secret = "protected",
                }
            );
            await context.SaveChangesAsync();
        }

        var before = await UndoTests.PictureAsync(system);
        var switched = await system.Integrations.TurnOnAsync(district, IntegrationKind.OneRoster, clear: true, "test");
        await using (var context = system.Database.CreateContext())
        {
            // As a sync leaves it, and as it stays when that sync is undone.
            var row = await context.Integrations.SingleAsync(i => i.Kind == IntegrationKind.OneRoster);
            row.State = """{"lastFullAt":"2026-10-01T04:00:00+00:00","changesSince":"2026-10-01T04:00:00+00:00"}""";
            await context.SaveChangesAsync();
        }

        await UndoTests.UndoAsync(system, switched!.Value);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        await system.Integrations.TurnOffAsync(district, IntegrationKind.ClassLink, "test");
        Assert.True((await system.Integrations.ImpactsOfTurningOnAsync(district))[IntegrationKind.ClassLink].IsEmpty);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_service_that_is_off_is_connected_elsewhere_without_touching_the_one_that_is_on(Db db)
    {
        await using var system = await StartAsync(db);
        var district = system.District.Id;
        var before = await UndoTests.PictureAsync(system);
        using var folder = new TempFolder();
        var package = SandboxCsv.Write(system.Sandbox.Options, 0, new SandboxCsvOptions(), folder.Path);
        File.SetLastWriteTimeUtc(package, TimeProvider.System.GetUtcNow().UtcDateTime.AddHours(-1));
        await using (var context = system.Database.CreateContext())
        {
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = district,
                    Kind = IntegrationKind.OneRosterCsv,
                    Settings = """{"mode":"Folder","url":"/somewhere/else"}""",
                }
            );
            context.SiteOrgs.Add(
                new SiteOrg
                {
                    DistrictId = district,
                    Kind = IntegrationKind.OneRosterCsv,
                    OrgId = "theirs",
                    SiteId = (await context.Sites.OrderBy(s => s.Id).FirstAsync()).Id,
                }
            );
            await context.SaveChangesAsync();
        }

        var rest = await RestAsync(system);
        var request = new ConnectRequest(ConnectionMode.Folder, null, folder.Path);
        Task<ConnectResult> ConnectAsync(bool clear) =>
            system.Integrations.ConnectAsync(system.District, IntegrationKind.OneRosterCsv, request, true, clear, "test");
        Assert.Equal(
            new SwitchImpact(0, 0, 0, 1),
            await system.Integrations.ImpactOfConnectAsync(district, IntegrationKind.OneRosterCsv, request)
        );
        await Refused(() => ConnectAsync(clear: false), "clears 1 matched organization");
        var cleared = (await ConnectAsync(clear: true)).Cleared!.Value;
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        var left = await RestAsync(system);
        Assert.Equal(
            rest.Where(l => !l.Contains("OneRosterCsv", StringComparison.Ordinal)),
            left.Where(l => !l.Contains("OneRosterCsv", StringComparison.Ordinal))
        );
        Assert.DoesNotContain(left, l => l.Contains("theirs", StringComparison.Ordinal));
        Assert.Contains(left, l => l.Contains(folder.Path, StringComparison.Ordinal));
        var next = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 4), (next.Created, next.LinkedGuid));

        // Syncs that were taken back stand in nobody's way.
        await using (var context = system.Database.CreateContext())
        {
            foreach (
                var (kind, status) in ((OperationKind, OperationStatus)[])
                    [(OperationKind.FullSync, OperationStatus.Undone), (OperationKind.Undo, OperationStatus.Completed)]
            )
            {
                context.Operations.Add(
                    new Operation
                    {
                        DistrictId = district,
                        Kind = kind,
                        Integration = IntegrationKind.OneRosterCsv,
                        Status = status,
                        Planned = true,
                        PlanSize = 3,
                        AppliedTo = 3,
                    }
                );
            }

            await context.SaveChangesAsync();
        }

        // What was cleared comes back, and again nothing else moves.
        var now = await RestAsync(system);
        await UndoTests.UndoAsync(system, cleared);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        var undone = await RestAsync(system);
        Assert.Contains(undone, l => l.Contains("theirs", StringComparison.Ordinal));
        Assert.Contains(undone, l => l.Contains("/somewhere/else", StringComparison.Ordinal));
        Assert.Equal(
            now.Where(l => !l.Contains("OneRosterCsv", StringComparison.Ordinal)),
            undone.Where(l => !l.Contains("OneRosterCsv", StringComparison.Ordinal))
        );
        Assert.Equal(IntegrationKind.ClassLink, (await system.Integrations.EnabledAsync(district))!.Kind);
        next = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 4), (next.Created, next.LinkedGuid));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Matches_of_a_service_that_is_prepared_leave_the_guids_of_sites_to_the_one_that_is_on(Db db)
    {
        await using var system = await StartAsync(db);
        var district = system.District;
        async Task<List<string?>> GuidsAsync() => [.. (await system.Get<SiteService>().ListAsync(district.Id)).Select(s => s.Guid)];
        var guids = await GuidsAsync();
        Assert.Equal(system.Sandbox.District.Schools.Select(s => s.SourcedId), guids);
        await using (var context = system.Database.CreateContext())
        {
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = district.Id,
                    Kind = IntegrationKind.OneRoster,
                    Settings = JsonSerializer.Serialize(
                        new
                        {
                            mode = "Direct",
                            url = $"{system.Sandbox.Url.GetLeftPart(UriPartial.Authority)}/ims/oneroster/v1p1",
                            key = system.Sandbox.Options.ConsumerKey,
                            signature = "HMAC-SHA256",
                            version = "1.1",
                        }
                    ),
                    Secret = system
                        .Get<Secrets>()
                        .Protect(district.Id, new ConnectionSecret(Secret: system.Sandbox.Options.ConsumerSecret).ToJson()),
                }
            );
            await context.SaveChangesAsync();
        }

        // What is prepared is matched crosswise.
        var (first, second) = (system.Sandbox.District.Schools.First().SourcedId, system.Sandbox.District.Schools.ElementAt(1).SourcedId);
        await system.Integrations.MatchAsync(district, IntegrationKind.OneRoster, "S1", second, "test");
        await system.Integrations.MatchAsync(district, IntegrationKind.OneRoster, "S2", first, "test");
        Assert.Equal(guids, await GuidsAsync());
        await system.Integrations.UnmatchAsync(district, IntegrationKind.OneRoster, first, "test");
        Assert.Equal(guids, await GuidsAsync());

        // Turned on, it is whose matches count.
        await system.Integrations.TurnOnAsync(district.Id, IntegrationKind.OneRoster, clear: true, "test");
        Assert.Equal([second, null], await GuidsAsync());
        await system.Integrations.MatchAsync(district, IntegrationKind.OneRoster, "S2", first, "test");
        Assert.Equal([second, first], await GuidsAsync());
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_service_that_is_turned_off_stops_its_syncs_and_what_it_holds_waits_until_it_is_on(Db db)
    {
        await using var system = await StartAsync(db);
        var district = system.District.Id;
        async Task<long> AskAsync(OperationKind kind, bool preview = false) =>
            (await system.Queue.EnqueueAsync(district, kind, IntegrationKind.ClassLink, preview, "test")).Id;
        var held = await AskAsync(OperationKind.ChangesSync);
        var claimed = await system.Queue.ClaimAsync("one", held, aloneHere: true, CancellationToken.None);
        Assert.True(await system.Queue.FinishAsync(claimed!, OperationStatus.NeedsApproval, null, null, null, CancellationToken.None));
        await using (var context = system.Database.CreateContext())
        {
            await context.Operations.Where(o => o.Id == held).ExecuteUpdateAsync(s => s.SetProperty(o => o.Planned, true));
        }

        var running = await AskAsync(OperationKind.FullSync);
        claimed = await system.Queue.ClaimAsync("one", running, aloneHere: true, CancellationToken.None);
        var waiting = await AskAsync(OperationKind.FullSync, preview: true);
        var retention = (await system.Queue.EnqueueAsync(district, OperationKind.Retention, null, false, "test")).Id;

        await system.Integrations.TurnOffAsync(district, IntegrationKind.ClassLink, "test");
        Assert.True((await system.Queue.GetAsync(district, running)).CancelRequested);
        var ended = await system.Queue.GetAsync(district, waiting);
        Assert.Equal(OperationStatus.Cancelled, ended.Status);
        Assert.Contains("turned off", ended.Error, StringComparison.Ordinal);
        Assert.NotNull(ended.FinishedAt);
        Assert.Equal(OperationStatus.Waiting, (await system.Queue.GetAsync(district, retention)).Status);
        Assert.True(await system.Queue.FinishAsync(claimed!, OperationStatus.Cancelled, null, null, null, CancellationToken.None));

        // What waits for an approval is not lost by a press that can do nothing.
        await Refused(() => system.Queue.ApproveAsync(district, held, "test"), "is off");
        Assert.Equal(OperationStatus.NeedsApproval, (await system.Queue.GetAsync(district, held)).Status);
        await system.Integrations.TurnOnAsync(district, IntegrationKind.ClassLink, clear: false, "test");
        await system.Queue.ApproveAsync(district, held, "test");
        Assert.Equal(OperationStatus.Waiting, (await system.Queue.GetAsync(district, held)).Status);

        // Approved and then not written: only a full sync sees it again.
        await system.Integrations.TurnOffAsync(district, IntegrationKind.ClassLink, "test");
        Assert.Equal(OperationStatus.Cancelled, (await system.Queue.GetAsync(district, held)).Status);
        Assert.Contains(
            "approved",
            IntegrationService.StateOf(await system.Integrations.FindAsync(district, IntegrationKind.ClassLink)).FullDue,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_service_is_not_turned_on_beside_the_first_sync_of_another(Db db)
    {
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            new Rollcall.Sandbox.SandboxOptions { Students = 20, Schools = 2 }
        );
        var district = system.District.Id;
        await using (var context = system.Database.CreateContext())
        {
            await context.SiteOrgs.ExecuteDeleteAsync();
            await context.Sites.ExecuteUpdateAsync(s => s.SetProperty(x => x.Guid, (string?)null));
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = district,
                    Kind = IntegrationKind.OneRoster,
                    Settings = """{"mode":"Bearer","url":"https://roster.example.org"}""",
                    Secret = "protected",
                }
            );
            await context.SaveChangesAsync();
        }

        var (id, _) = await system.Queue.EnqueueAsync(district, OperationKind.FullSync, IntegrationKind.ClassLink, false, "test");
        var running = await system.Queue.ClaimAsync("one", id, aloneHere: true, CancellationToken.None);
        Task OnAsync() => system.Integrations.TurnOnAsync(district, IntegrationKind.OneRoster, clear: true, "test");
        await Refused(OnAsync, $"Operation {id} is at work");
        Assert.Equal(IntegrationKind.ClassLink, (await system.Integrations.EnabledAsync(district))!.Kind);
        Assert.True(await system.Queue.FinishAsync(running!, OperationStatus.Cancelled, null, null, null, CancellationToken.None));
        (id, _) = await system.Queue.EnqueueAsync(district, OperationKind.FullSync, IntegrationKind.ClassLink, false, "test");
        await OnAsync();
        Assert.Equal(OperationStatus.Cancelled, (await system.Queue.GetAsync(district, id)).Status);
    }

    [Fact]
    public async Task A_switch_waits_for_nobody_who_works_and_drops_what_waits()
    {
        await using var system = await StartAsync(Db.Sqlite);
        var preview = await system.SyncAsync(preview: true);
        var (waiting, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        var elsewhere = FailureTests.Elsewhere(system);
        Task<ConnectResult> Switch() =>
            system.Integrations.ConnectAsync(system.District, IntegrationKind.ClassLink, elsewhere, true, true, "test");
        await Refused(Switch, $"Operation {waiting} is at work");
        Assert.All(await system.AllPatronsAsync(), p => Assert.True(p.Guid is not null || p.LastName == "Byron"));
        await system.Queue.CancelAsync(system.District.Id, waiting);

        // It reads, and links nobody.
        await system.Queue.EnqueueAsync(system.District.Id, OperationKind.Readiness, IntegrationKind.ClassLink, preview: false, "test");
        await Switch();
        Assert.Equal(OperationStatus.Superseded, (await system.Queue.GetAsync(system.District.Id, preview.Id)).Status);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_merge_that_is_undone_after_a_switch_brings_nothing_of_the_former_roster_back(Db db)
    {
        await using var system = await StartAsync(db);
        var patrons = await system.PatronsByGuidAsync();
        var merge = await system
            .Get<PatronMerge>()
            .MergeAsync(system.District.Id, patrons["p3"].Barcode, patrons["p5"].Barcode, "librarian");
        await system.Patrons.EditAsync(system.District.Id, patrons["p4"].Barcode, [new("guid", null)], "librarian");
        var edit = (await system.Queue.ListAsync(system.District.Id, 1, withEdits: true))[0].Id;
        var switched = (
            await system.Integrations.ConnectAsync(
                system.District,
                IntegrationKind.ClassLink,
                FailureTests.Elsewhere(system),
                true,
                true,
                "test"
            )
        )
            .Cleared!
            .Value;
        foreach (var id in (long[])[merge, edit])
        {
            var undo = await UndoTests.UndoAsync(system, id);
            Assert.Equal(OperationStatus.CompletedWithWarnings, undo.Status);
            Assert.Contains(
                await system.LogAsync(undo.Id),
                r => r.Warning?.Contains($"operation {switched} switched the roster service", StringComparison.Ordinal) == true
            );
        }

        Assert.Contains(await system.AllPatronsAsync(), p => p.LastName == "Epsilon");
        Assert.All(await system.AllPatronsAsync(), p => Assert.Null(p.Guid));
        await using var context = system.Database.CreateContext();
        Assert.False(await context.PatronLinks.AnyAsync());
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_merge_since_a_switch_is_undone_before_it(Db db)
    {
        await using var system = await StartAsync(db);
        var before = await UndoTests.PictureAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var switched = (
            await system.Integrations.ConnectAsync(
                system.District,
                IntegrationKind.ClassLink,
                FailureTests.Elsewhere(system),
                true,
                true,
                "test"
            )
        )
            .Cleared!
            .Value;
        var merge = await system
            .Get<PatronMerge>()
            .MergeAsync(system.District.Id, patrons["p3"].Barcode, patrons["p5"].Barcode, "librarian");
        await Refused(() => UndoAsync(system, switched), $"Undo operation {merge} first");
        await UndoTests.UndoAsync(system, merge);
        await UndoTests.UndoAsync(system, switched);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undo_of_a_switch_that_was_stopped_half_way_is_done_by_another(Db db)
    {
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            new Rollcall.Sandbox.SandboxOptions { Students = 450, Schools = 2 }
        );
        await system.SyncAsync();
        await system.SyncAsync();
        var before = await UndoTests.PictureAsync(system);
        var rest = await RestAsync(system);
        var switched = (
            await system.Integrations.ConnectAsync(
                system.District,
                IntegrationKind.ClassLink,
                FailureTests.Elsewhere(system),
                true,
                true,
                "test"
            )
        )
            .Cleared!
            .Value;
        var stopped = await LateUndoTests.CancelledAsync(system, await UndoAsync(system, switched));
        Assert.Equal(OperationStatus.Cancelled, stopped.Status);
        Assert.InRange(stopped.AppliedTo, 1, stopped.PlanSize - 1);
        await UndoTests.UndoAsync(system, switched);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        Assert.Equal(rest, await RestAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    [InlineData(Db.Sqlite, true)]
    [InlineData(Db.Postgres, true)]
    public async Task What_was_planned_from_the_roster_that_an_undo_leaves_cannot_be_approved(Db db, bool approved)
    {
        await using var system = await StartAsync(db);
        var switched = (
            await system.Integrations.ConnectAsync(
                system.District,
                IntegrationKind.ClassLink,
                FailureTests.Elsewhere(system),
                true,
                true,
                "test"
            )
        )
            .Cleared!
            .Value;
        var number = 0;
        foreach (var school in system.Sandbox.District.Schools)
        {
            await system.Integrations.MatchAsync(system.District, IntegrationKind.ClassLink, $"S{++number}", school.SourcedId, "test");
        }

        var preview = await system.SyncAsync(preview: true);
        Assert.Equal(OperationStatus.Preview, preview.Status);
        if (approved)
        {
            await system.Queue.ApproveAsync(system.District.Id, preview.Id, "librarian");
        }

        await UndoTests.UndoAsync(system, switched);
        var ended = await system.Queue.GetAsync(system.District.Id, preview.Id);
        Assert.Equal(OperationStatus.Superseded, ended.Status);
        Assert.Contains($"Operation {switched}", ended.Error, StringComparison.Ordinal);
        await Assert.ThrowsAsync<RollcallException>(() => system.Queue.ApproveAsync(system.District.Id, preview.Id, "librarian"));
        Assert.Equal(4, OperationQueue.CountsOf(await system.SyncAsync()).LinkedGuid);
    }

    /// <summary>A switch clears the connections of all services. What is connected since, where there was nothing, is nothing that it took.</summary>
    [Theory]
    [InlineData(Db.Sqlite, null)]
    [InlineData(Db.Postgres, null)]
    [InlineData(Db.Sqlite, "/first")]
    [InlineData(Db.Postgres, "/first")]
    [InlineData(Db.Sqlite, "/second")]
    [InlineData(Db.Postgres, "/second")]
    public async Task What_was_prepared_for_another_service_since_a_switch_outlives_its_undo(Db db, string? wasThere)
    {
        await using var system = await StartAsync(db);
        var district = system.District.Id;
        var before = await UndoTests.PictureAsync(system);
        if (wasThere is not null)
        {
            await PrepareAsync(wasThere);
        }

        var rest = await RestAsync(system);
        var switched = (
            await system.Integrations.ConnectAsync(
                system.District,
                IntegrationKind.ClassLink,
                FailureTests.Elsewhere(system),
                true,
                true,
                "test"
            )
        )
            .Cleared!
            .Value;
        await PrepareAsync("/second");
        var prepared = (await RestAsync(system)).Where(IsCsv).ToList();
        Assert.Equal(2, prepared.Count);
        if (wasThere is not null)
        {
            // Both cannot be there: at the same address, too, what was typed since is newer.
            await Refused(
                () => UndoAsync(system, switched),
                $"{IntegrationWords.Name(IntegrationKind.OneRosterCsv)} has been connected again since operation {switched}"
            );
            Assert.Equal(prepared, (await RestAsync(system)).Where(IsCsv));
            return;
        }

        await UndoTests.UndoAsync(system, switched);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        var after = await RestAsync(system);
        Assert.Equal(prepared, after.Where(IsCsv));
        Assert.Equal(rest, after.Where(l => !IsCsv(l)));

        static bool IsCsv(string line) => line.Contains("OneRosterCsv", StringComparison.Ordinal);

        async Task PrepareAsync(string folder)
        {
            await using var context = system.Database.CreateContext();
            var row = await context.Integrations.SingleOrDefaultAsync(i => i.Kind == IntegrationKind.OneRosterCsv);
            if (row is null)
            {
                row = new Integration { DistrictId = district, Kind = IntegrationKind.OneRosterCsv };
                context.Integrations.Add(row);
            }

            row.Settings = $$"""{"mode":"Folder","url":"{{folder}}"}""";
            context.SiteOrgs.Add(
                new SiteOrg
                {
                    DistrictId = district,
                    Kind = IntegrationKind.OneRosterCsv,
                    OrgId = "of " + folder,
                    SiteId = (await context.Sites.OrderBy(s => s.Id).FirstAsync()).Id,
                }
            );
            await context.SaveChangesAsync();
        }
    }

    /// <summary>A third service, which had no connection when the switch cleared the second one's, is nothing that the switch took.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_switch_that_left_patrons_alone_is_undone_beside_a_third_service(Db db)
    {
        await using var system = await StartAsync(db);
        var district = system.District.Id;
        var before = await UndoTests.PictureAsync(system);
        await PrepareAsync(IntegrationKind.OneRoster, """{"mode":"Bearer","url":"https://roster.example.org"}""");
        await system.Integrations.TurnOffAsync(district, IntegrationKind.ClassLink, "test");
        var rest = await RestAsync(system);
        var switched = (await system.Integrations.TurnOnAsync(district, IntegrationKind.ClassLink, clear: true, "test"))!.Value;
        await PrepareAsync(IntegrationKind.OneRosterCsv, """{"mode":"Folder","url":"/third"}""");
        var prepared = (await RestAsync(system)).Where(IsCsv).ToList();
        await UndoTests.UndoAsync(system, switched);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        var after = await RestAsync(system);
        Assert.Equal(2, prepared.Count);
        Assert.Equal(prepared, after.Where(IsCsv));
        Assert.Equal(rest, after.Where(l => !IsCsv(l)));

        static bool IsCsv(string line) => line.Contains("OneRosterCsv", StringComparison.Ordinal);

        async Task PrepareAsync(IntegrationKind kind, string settings)
        {
            await using var context = system.Database.CreateContext();
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = district,
                    Kind = kind,
                    Settings = settings,
                }
            );
            context.SiteOrgs.Add(
                new SiteOrg
                {
                    DistrictId = district,
                    Kind = kind,
                    OrgId = $"of {kind}",
                    SiteId = (await context.Sites.OrderBy(s => s.Id).FirstAsync()).Id,
                }
            );
            await context.SaveChangesAsync();
        }
    }

    [Theory]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    [InlineData(Db.Sqlite, true)]
    [InlineData(Db.Postgres, true)]
    public async Task An_undo_of_a_run_of_the_service_that_was_left_stops_the_nights_of_the_one_that_is_on(Db db, bool one)
    {
        await using var system = await StartAsync(db);
        var district = system.District.Id;
        system.Sandbox.Overrides.Change("users", "p3", u => u["familyName"] = "Renamed");
        var run = await system.SyncAsync();
        await using (var context = system.Database.CreateContext())
        {
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = district,
                    Kind = IntegrationKind.OneRoster,
                    Settings = """{"mode":"Bearer","url":"https://roster.example.org"}""",
                    Secret = "protected",
                }
            );
            await context.SaveChangesAsync();
        }

        await system.Integrations.TurnOnAsync(district, IntegrationKind.OneRoster, clear: true, "test");
        await system.ConfigureAsync(s => s with { Daily = s.Daily with { At = new TimeOnly(4, 0) } }, IntegrationKind.OneRoster);
        await using (var context = system.Database.CreateContext())
        {
            var row = await context.Integrations.SingleAsync(i => i.Kind == IntegrationKind.OneRoster);
            row.State = "{}";
            await context.SaveChangesAsync();
        }

        var barcode = (await system.AllPatronsAsync()).Single(p => p.LastName == "Renamed").Barcode;
        var undo = await UndoAsync(system, run.Id, one ? barcode : null);
        var (night, _) = await system.Queue.EnqueueAsync(
            district,
            OperationKind.ChangesSync,
            IntegrationKind.OneRoster,
            preview: false,
            DailySchedule.Actor,
            dailyDate: new DateOnly(2026, 9, 2)
        );
        Assert.Null((await system.Follower.RunAsync(district, undo, null, CancellationToken.None)).Error);
        Assert.DoesNotContain(await system.AllPatronsAsync(), p => p.LastName == "Renamed");
        var on = await system.Integrations.FindAsync(district, IntegrationKind.OneRoster);
        Assert.Equal($"operation {run.Id} was undone{(one ? " for one patron" : "")}", IntegrationService.StateOf(on).FullDue);
        Assert.Equal(one ? null : run.Id, IntegrationService.StateOf(on).UndoneRun);
        var because = IntegrationService.SettingsOf(on).Daily.StoppedBecause;
        var after = await system.Queue.GetAsync(district, night);
        if (one)
        {
            Assert.Equal((null, OperationStatus.Waiting), (because, after.Status));
        }
        else
        {
            Assert.StartsWith($"Operation {run.Id} was undone", because, StringComparison.Ordinal);
            Assert.Equal(OperationStatus.Cancelled, after.Status);
        }
    }

    /// <summary>A switch takes a connection, and its undo brings that back: what somebody has set since is theirs.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_was_set_since_a_switch_outlives_its_undo(Db db)
    {
        await using var system = await StartAsync(db);
        await system.ConfigureAsync(s =>
            s with
            {
                Login = s.Login with { On = true, ConfirmedTenant = s.TenantId },
                Daily = s.Daily with { At = new TimeOnly(4, 0) },
            }
        );
        var before = await SettingsAsync();
        var connected = await system.Integrations.ConnectAsync(
            system.District,
            IntegrationKind.ClassLink,
            FailureTests.Elsewhere(system),
            true,
            true,
            "test"
        );
        Assert.NotEqual(before.TenantId, (await SettingsAsync()).TenantId);
        var pause = new PauseDates(new DateOnly(2026, 12, 20), new DateOnly(2027, 1, 3));
        await system.ConfigureAsync(s =>
            s with
            {
                Login = s.Login with { On = false },
                Daily = s.Daily with { Pauses = [pause] },
                Thresholds = s.Thresholds with { Transfers = new Threshold(3, 1) },
            }
        );

        await UndoTests.UndoAsync(system, connected.Cleared!.Value);
        var after = await SettingsAsync();
        Assert.Equal((before.TenantId, before.Mode, before.Url), (after.TenantId, after.Mode, after.Url));
        Assert.Equal((false, before.Login.ConfirmedTenant), (after.Login.On, after.Login.ConfirmedTenant));
        Assert.Equal([pause], after.Daily.Pauses);
        Assert.Equal(new Threshold(3, 1), after.Thresholds.Transfers);
        var next = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 4), (next.Created, next.LinkedGuid));

        async Task<IntegrationSettings> SettingsAsync() =>
            IntegrationService.SettingsOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink));
    }

    /// <summary>A service that was connected elsewhere while it was off, and is on now: an undo would exchange the roster under it, for one that may be
    /// another district's by now.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undo_exchanges_no_connection_of_a_service_that_was_turned_on_since(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var district = system.District.Id;
        await system.Integrations.TurnOffAsync(district, IntegrationKind.ClassLink, "test");
        var tenant = (await SettingsAsync()).TenantId;
        var elsewhere = FailureTests.Elsewhere(system);
        var switched = (await system.Integrations.ConnectAsync(system.District, IntegrationKind.ClassLink, elsewhere, true, true, "test"))
            .Cleared!
            .Value;
        await TurnOnAsync();
        await Refused(
            () => UndoAsync(system, switched),
            $"ClassLink has been turned on since operation {switched}. Turn it off first, then undo"
        );

        // Turned on while the undo is at work, it keeps what it was turned on with, and that is said.
        await system.Integrations.TurnOffAsync(district, IntegrationKind.ClassLink, "test");
        var late = await UndoAsync(system, switched);
        var turned = false;
        var ended = await system.Follower.RunAsync(
            district,
            late,
            (_, text, _, _) =>
            {
                if (text == "Reading what was written" && !turned)
                {
                    turned = true;
                    Task.Run(TurnOnAsync).GetAwaiter().GetResult();
                }
            },
            CancellationToken.None
        );
        Assert.True(turned);
        Assert.Contains("has been turned on since", ended.Error, StringComparison.Ordinal);
        Assert.Equal(elsewhere.TenantId, (await SettingsAsync()).TenantId);

        await system.Integrations.TurnOffAsync(district, IntegrationKind.ClassLink, "test");
        await UndoTests.UndoAsync(system, switched);
        Assert.Equal(tenant, (await SettingsAsync()).TenantId);

        Task TurnOnAsync() => system.Integrations.TurnOnAsync(district, IntegrationKind.ClassLink, clear: false, "test");

        async Task<IntegrationSettings> SettingsAsync() =>
            IntegrationService.SettingsOf(await system.Integrations.FindAsync(district, IntegrationKind.ClassLink));
    }

    /// <summary>Whoever connects while an undo is at work has the last word: the secret that is typed is the newer one.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_service_that_is_connected_again_while_a_switch_is_undone_stays_so(Db db)
    {
        await using var system = await StartAsync(db);
        var district = system.District.Id;
        await PutAsync("""{"mode":"Bearer","url":"https://old.example.org"}""", "old");
        var switched = (
            await system.Integrations.ConnectAsync(
                system.District,
                IntegrationKind.ClassLink,
                FailureTests.Elsewhere(system),
                true,
                true,
                "test"
            )
        )
            .Cleared!
            .Value;
        var undo = await UndoAsync(system, switched);
        var put = false;
        var ended = await system.Follower.RunAsync(
            district,
            undo,
            (_, text, _, _) =>
            {
                if (text == "Writing changes" && !put)
                {
                    put = true;
                    Task.Run(() => PutAsync("""{"mode":"Bearer","url":"https://new.example.org"}""", "new")).GetAwaiter().GetResult();
                }
            },
            CancellationToken.None
        );
        Assert.True(put);
        Assert.Null(ended.Error);
        var there = await system.Integrations.FindAsync(district, IntegrationKind.OneRoster);
        Assert.Equal(("https://new.example.org", "new"), (IntegrationService.SettingsOf(there).Url, there!.Secret));

        async Task PutAsync(string settings, string secret)
        {
            await using var context = system.Database.CreateContext();
            var row = await context.Integrations.SingleOrDefaultAsync(i => i.DistrictId == district && i.Kind == IntegrationKind.OneRoster);
            if (row is null)
            {
                row = new Integration { DistrictId = district, Kind = IntegrationKind.OneRoster };
                context.Integrations.Add(row);
            }

            (row.Settings, row.Secret) = (settings, secret);
            await context.SaveChangesAsync();
        }
    }

    private static Task<long> UndoAsync(Installation system, long id, string? barcode = null) =>
        system.Get<UndoService>().EnqueueAsync(system.District.Id, id, barcode, "test");

    private static async Task Refused(Func<Task> act, string words) =>
        Assert.Contains(words, (await Assert.ThrowsAsync<RollcallException>(act)).Message, StringComparison.Ordinal);

    /// <summary>Sites, matches, Review and connections; the marks that force a full sync aside.</summary>
    private static async Task<List<string>> RestAsync(Installation system)
    {
        await using var context = system.Database.CreateContext();
        return
        [
            .. (await context.Sites.AsNoTracking().OrderBy(s => s.Id).ToListAsync()).Select(s => $"{s.Code} {s.Guid}"),
            .. (await context.SiteOrgs.AsNoTracking().OrderBy(o => o.OrgId).ToListAsync()).Select(o =>
                $"{o.Kind} {o.OrgId} {o.SiteId} {o.Position} {o.OrgName}"
            ),
            .. (await context.ReviewItems.AsNoTracking().OrderBy(r => r.Id).ToListAsync()).Select(r =>
                $"{r.Id} {r.RosterId} {r.Status} {r.Reason} {r.Values} {r.Candidates}"
            ),
            .. (await context.Integrations.AsNoTracking().OrderBy(i => i.Kind).ToListAsync()).Select(i =>
            {
                var state = IntegrationService.StateOf(i);
                var settings = JsonSerializer.Serialize(IntegrationService.SettingsOf(i), IntegrationService.Json);
                return $"{i.Kind} {i.Enabled} {settings} {i.Secret} {state.ChangesSince} {state.LastFullAt}";
            }),
        ];
    }

    /// <summary>Three students and a teacher are linked, one of them with an alias; one person waits in Review.</summary>
    private async Task<Installation> StartAsync(Db db)
    {
        var system = await Installation.StartAsync(cluster, db, new Rollcall.Sandbox.SandboxOptions { Students = 20, Schools = 2 });
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        await system.ImportAsync("barcode,lastName,firstName,email,site,status\nA1001,Byron,Ada,ada@example.org,S1,Suspended\n");
        system.Sandbox.Person("p1", "Ada", "Lovelace", email: "ada@example.org");
        system.Sandbox.Person("p2", "Ben", "Beta", number: "77");
        system.Sandbox.Person("p3", "Cid", "Gamma");
        system.Sandbox.Person("p4", "Dee", "Delta", role: "teacher");
        system.Sandbox.Person("p5", "Eve", "Epsilon");
        await system.SyncAsync();
        system.Sandbox.Person("p2b", "Ben", "Beta", number: "77");
        await system.SyncAsync();
        var twin = (await system.Get<ReviewService>().ListAsync(system.District.Id)).Single(i => i.Guid == "p2b");
        await system.Get<ReviewDecisions>().LinkAsync(system.District.Id, twin.Id, twin.Candidates[0], "librarian");
        return system;
    }
}
