using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>A plan that is older than what is known by now: approved late, approved twice, or gone on with after a newer read.</summary>
public sealed class ApprovalTests(PostgresCluster cluster)
{
    private async Task<Installation> StartAsync(Db db, FieldMap? map = null)
    {
        var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = map ?? new FieldMap() });
        return system;
    }

    private static Operation Sound(Operation operation)
    {
        Assert.Null(operation.Error);
        Assert.True(OperationQueue.CountsOf(operation).AddUp, operation.Counts);
        return operation;
    }

    private static async Task<Operation> SyncAsync(
        Installation system,
        OperationKind kind = OperationKind.FullSync,
        bool preview = false
    ) => Sound(await system.SyncAsync(preview, kind));

    private static Task<Patron> EditAsync(Installation system, string barcode, string field, string? value) =>
        system.Patrons.EditAsync(system.District.Id, barcode, [new(field, value)], "librarian");

    private static async Task<string?> FullDueAsync(Installation system) =>
        IntegrationService.StateOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink)).FullDue;

    private static Task<Operation> GetAsync(Installation system, Operation operation) =>
        system.Queue.GetAsync(system.District.Id, operation.Id);

    private static async Task<Operation> PlanImportAsync(Installation system, string csv, bool preview)
    {
        using var stream = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(csv));
        var id = await system.Get<PatronImport>().PlanAsync(system.District.Id, stream, "patrons.csv", preview, "test");
        return preview
            ? await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None)
            : await system.Queue.GetAsync(system.District.Id, id);
    }

    private static string Id(int i) => $"p{i:000}";

    [Theory]
    [InlineData(Db.Sqlite, "S1", true)]
    [InlineData(Db.Postgres, "S1", true)]
    [InlineData(Db.Sqlite, "", true)]
    [InlineData(Db.Postgres, "", true)]
    [InlineData(Db.Sqlite, "S1", false)]
    [InlineData(Db.Postgres, "", false)]
    public async Task A_file_that_is_imported_twice_brings_its_patrons_once(Db db, string site, bool preview)
    {
        await using var system = await StartAsync(db);
        var csv =
            "barcode,lastName,firstName,site\n"
            + string.Concat(Enumerable.Range(1, 5).Select(i => $"CARD-{i},Last{i},First,{site}\n"))
            + "CARD-6,Byhand,First,S1\n";
        var first = await PlanImportAsync(system, csv, preview);
        var second = await PlanImportAsync(system, csv, preview);
        await system.Patrons.AddAsync(
            system.District.Id,
            [new("lastName", "Byhand"), new("site", "S1"), new("barcode", "card-6")],
            "librarian"
        );
        foreach (var import in (Operation[])[first, second])
        {
            Sound(
                preview
                    ? await system.ApproveAsync(import.Id)
                    : await system.Follower.RunAsync(system.District.Id, import.Id, null, CancellationToken.None)
            );
        }

        Assert.Equal(
            ["CARD-1", "CARD-2", "CARD-3", "CARD-4", "CARD-5", "card-6"],
            (await system.AllPatronsAsync()).Select(p => p.Barcode).Order(StringComparer.OrdinalIgnoreCase)
        );
        var counts = OperationQueue.CountsOf(await GetAsync(system, second));
        Assert.Equal((0, 6), (counts.Created, counts.Skipped));
        Assert.Equal(OperationStatus.CompletedWithWarnings, (await GetAsync(system, second)).Status);
        Assert.All(await system.LogAsync(second.Id), r => Assert.True(r.Stale));
        Assert.Equal(5, OperationQueue.CountsOf(await GetAsync(system, first)).Created);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Approved_creates_are_no_second_record_of_whom_a_librarian_numbered_or_added_since(Db db)
    {
        await using var system = await StartAsync(
            db,
            new FieldMap { CommunityId = new IdMapping(IdSource.Identifier), Barcode = new IdMapping(IdSource.UserIdType, "Card") }
        );
        Assert.Null(
            (
                await system.ImportAsync(
                    "barcode,lastName,firstName,site\n"
                        + string.Concat(Enumerable.Range(1, 14).Select(i => $"OLD-{i:00},Person{i:00},Pat,S1\n"))
                )
            ).Error
        );
        for (var i = 1; i <= 14; i++)
        {
            system.Sandbox.Person(
                $"n{i:00}",
                "Pat",
                $"Person{i:00}",
                number: i == 14 ? "" : $"10{i:00}",
                barcode: i is 3 or 4 ? $"NEW-{i:00}" : null
            );
        }

        // Numbered alike, as staff and students may be: no reason to leave either out.
        system.Sandbox.Person("twin", "Tia", "Twin", number: "1010");
        var held = await SyncAsync(system);
        Assert.Equal(14, OperationQueue.CountsOf(held).Held);
        await EditAsync(system, "OLD-01", "communityId", "1001");
        await system.Patrons.AddAsync(
            system.District.Id,
            [new("lastName", "Person02"), new("site", "S1"), new("communityId", "\u00a01002 ")],
            "librarian"
        );
        await EditAsync(system, "OLD-03", "barcode", "new-03");
        await EditAsync(system, "OLD-05", "communityId", "999");
        await EditAsync(system, "OLD-14", "notes", "has no number either");

        var approved = Sound(await system.ApproveAsync(held.Id));
        Assert.Equal(["n01", "n02", "n03"], (await system.LogAsync(held.Id)).Where(r => r.Stale).Select(r => r.Guid).Order());
        Assert.Equal(12, OperationQueue.CountsOf(approved).Created);
        Assert.NotNull(await FullDueAsync(system));
        var next = await SyncAsync(system);
        Assert.Equal(0, OperationQueue.CountsOf(next).Created);
        var linked = await system.PatronsByGuidAsync();
        Assert.Equal(("OLD-01", "new-03"), (linked["n01"].Barcode, linked["n03"].Barcode.ToLowerInvariant()));
        Assert.Equal("1002", Text.Clean(linked["n02"].CommunityId));
    }

    [Theory]
    [InlineData(Db.Sqlite, "Last Name")]
    [InlineData(Db.Postgres, "Last Name")]
    [InlineData(Db.Sqlite, "Status")]
    [InlineData(Db.Postgres, "Status")]
    [InlineData(Db.Sqlite, "roles")]
    [InlineData(Db.Postgres, "roles")]
    [InlineData(Db.Sqlite, "mapping")]
    [InlineData(Db.Postgres, "mapping")]
    public async Task An_approval_heeds_roles_policies_and_mapping_that_changed_since(Db db, string what)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        void People(int from, int to, string family, string number)
        {
            for (var i = from; i <= to; i++)
            {
                system.Sandbox.Person(Id(i), "Pat", family, role: "teacher", number: $"{number}{i}");
            }
        }

        People(1, 40, "Before", "10");
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 12).Select(Id));
        People(13, 28, "After", "10");
        People(29, 40, "Before", "20");
        var held = await SyncAsync(system);
        Assert.Equal(40, OperationQueue.CountsOf(held).Held);
        await system.ConfigureAsync(s =>
            what switch
            {
                "roles" => s with { Roles = [RoleGroup.Student] },
                "mapping" => s with { Map = s.Map with { CommunityId = new IdMapping() } },
                _ => SettingsChange.Field(s, what, "library", null),
            }
        );
        var approved = Sound(await system.ApproveAsync(held.Id));
        var patrons = await system.AllPatronsAsync();
        Assert.Equal(what is "Status" or "roles" ? 0 : 12, patrons.Count(p => p.Status == PatronStatus.Transferred));
        Assert.Equal(what is "Last Name" or "roles" ? 0 : 16, patrons.Count(p => p.LastName == "After"));
        Assert.Equal(what is "mapping" or "roles" ? 0 : 12, patrons.Count(p => p.CommunityId!.StartsWith("20", StringComparison.Ordinal)));
        Assert.Equal(
            what switch
            {
                "roles" => 40,
                "Last Name" => 16,
                _ => 12,
            },
            (await system.LogAsync(held.Id)).Count(r => r.Stale)
        );
        Assert.Contains(OperationQueue.WarningsOf(approved), w => w.Code == "stale");
        Assert.NotNull(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_preview_leaves_new_people_and_questions_of_roles_that_are_no_longer_ticked(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        Assert.Null((await system.ImportAsync("barcode,communityId,lastName,site\nCARD-1,1001,Alpha,S1\nCARD-2,1001,Alpha,S1\n")).Error);
        system.Sandbox.Person("ask", "Ann", "Alpha", number: "1001", role: "teacher");
        system.Sandbox.Person("new", "Tea", "Cher", role: "teacher");
        system.Sandbox.Person("pupil", "Pu", "Pil");
        var preview = await SyncAsync(system, preview: true);
        Assert.Equal((2, 1), (OperationQueue.CountsOf(preview).Created, OperationQueue.CountsOf(preview).Review));
        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student] });
        var approved = OperationQueue.CountsOf(Sound(await system.ApproveAsync(preview.Id)));
        Assert.Equal((1, 0, 2), (approved.Created, approved.Review, approved.Skipped));
        Assert.Equal(["pupil"], (await system.PatronsByGuidAsync()).Keys);
        Assert.Equal(0, await system.Get<Rollcall.Review.ReviewService>().OpenCountAsync(system.District.Id));
    }
}
