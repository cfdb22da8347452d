using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;
using Rollcall.Tests.Sync;

namespace Rollcall.Tests.Patrons;

/// <summary>End of year: many patrons at once, previewed, and a patron added by hand.</summary>
public sealed class BulkTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Transferred_patrons_are_previewed_edited_undone_and_removed(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("p1", "Ada", "Byron");
        await system.SyncAsync();
        await system.ImportAsync(
            "barcode,lastName,firstName,status,site,notes\nA1001,Carver,Ben,Transferred,S1,\nA1002,Dunn,Cleo,Transferred,S2,kept\nA1003,Ely,Dora,Active,S2,\n"
        );
        var bulk = system.Get<PatronBulk>();
        var leavers = new PatronFilter(Status: PatronStatus.Transferred);
        var before = await UndoTests.PictureAsync(system);

        var preview = await EndAsync(
            system,
            await bulk.PlanEditAsync(system.District.Id, leavers, [new("expiration", "2026-06-30")], true, "lib")
        );
        Assert.Equal((OperationStatus.Preview, 2), (preview.Status, OperationQueue.CountsOf(preview).Updated));

        // What waits for somebody is in the queue; an edit of one patron by hand, which is done at once, is not.
        await system.Patrons.EditAsync(system.District.Id, "A1003", [new("nickname", "Do")], "librarian");
        await system.Patrons.EditAsync(system.District.Id, "A1003", [new("nickname", null)], "librarian");
        Assert.Equal(preview.Id, Assert.Single(await system.Queue.ListAsync(system.District.Id), o => o.Kind == OperationKind.Edit).Id);
        Assert.Equal(3, (await system.Queue.ListAsync(system.District.Id, withEdits: true)).Count(o => o.Kind == OperationKind.Edit));
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        var approved = await system.ApproveAsync(preview.Id);
        Assert.Equal(OperationStatus.Completed, approved.Status);
        Assert.Equal(2, (await system.AllPatronsAsync()).Count(p => p.Expiration == new DateOnly(2026, 6, 30)));
        await UndoTests.UndoAsync(system, preview.Id);
        Assert.Equal(before, await UndoTests.PictureAsync(system));

        foreach (var name in (string[])["barcode", "lastName", "guid", "nonsense"])
        {
            await Assert.ThrowsAsync<RollcallException>(() =>
                bulk.PlanEditAsync(system.District.Id, leavers, [new(name, "X1234")], false, "lib")
            );
        }

        var removal = await EndAsync(system, await bulk.PlanRemovalAsync(system.District.Id, leavers, true, "lib"));
        Assert.Equal((OperationStatus.Preview, 2), (removal.Status, OperationQueue.CountsOf(removal).Removed));
        await system.Patrons.EditAsync(system.District.Id, "A1002", [new("status", "Active")], "librarian");
        removal = await system.ApproveAsync(removal.Id);
        Assert.Equal(OperationStatus.CompletedWithWarnings, removal.Status);
        Assert.True(OperationQueue.CountsOf(removal).AddUp, removal.Counts);
        Assert.Equal(["A1002", "A1003"], (await system.AllPatronsAsync()).Where(p => p.Guid is null).Select(p => p.Barcode).Order());
        var refused = await Assert.ThrowsAsync<RollcallException>(() => UndoTests.UndoAsync(system, removal.Id));
        Assert.Contains("final", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_many_rows_of_a_file_have_in_common_is_said_once()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite);
        var file = new System.Text.StringBuilder("barcode,lastName,birthdate,site\n");
        for (var i = 0; i < 120; i++)
        {
            file.Append(System.Globalization.CultureInfo.InvariantCulture, $"M{1000 + i},Many,{(i == 3 ? "soon" : "")},NOWHERE\n");
        }

        var refused = await Assert.ThrowsAsync<ImportRefusedException>(() => system.ImportAsync(file.ToString()));
        Assert.Equal(2, refused.Problems.Count);
        Assert.StartsWith(
            "Rows 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 110 more: there is no site with the code",
            refused.Problems[0],
            StringComparison.Ordinal
        );
        Assert.StartsWith("Row 5: Birthdate is a whole date", refused.Problems[1], StringComparison.Ordinal);
        refused = await Assert.ThrowsAsync<ImportRefusedException>(() => system.ImportAsync("barcode,lastName\nA1,B,C\nD1,E,F\n"));
        Assert.Equal("Rows 2 and 3: 3 columns where the header has 2.", Assert.Single(refused.Problems));

        // So it is where the file cannot be read to its end.
        refused = await Assert.ThrowsAsync<ImportRefusedException>(() =>
            system.ImportAsync("barcode,lastName\nA1,B,C\nD1,E,F\nG1,\"open\n")
        );
        Assert.Contains("not readable as CSV", refused.Message, StringComparison.Ordinal);
        Assert.Equal("Rows 2 and 3: 3 columns where the header has 2.", Assert.Single(refused.Problems));
    }

    [Theory]
    [InlineData(60, 60, "60 problems, 50 of them listed.", "… and 10 more.", "… and 57 more.")]
    [InlineData(5, 60, "5 problems, each listed.", null, "… and 2 more.")]
    [InlineData(60, 2100, "at least 60 problems, 50 of them listed.", "… and at least 10 more.", "… and at least 57 more.")]
    [InlineData(5, 2100, "at least 5 problems, 5 of them listed.", "… and perhaps more.", "… and at least 2 more.")]
    public async Task How_many_problems_a_file_has_is_counted_before_the_list_is_cut(
        int kinds,
        int rows,
        string beside,
        string? end,
        string more
    )
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite);
        var file = new System.Text.StringBuilder("barcode,lastName,site\n");
        for (var i = 0; i < rows; i++)
        {
            file.Append(System.Globalization.CultureInfo.InvariantCulture, $"M{10000 + i},Many,NOWHERE{i % kinds}\n");
        }

        var refused = await Assert.ThrowsAsync<ImportRefusedException>(() => system.ImportAsync(file.ToString()));
        Assert.Contains(beside, refused.BesideProblems, StringComparison.Ordinal);
        Assert.Contains(more, refused.Message, StringComparison.Ordinal);
        Assert.Equal(Math.Min(kinds, 50) + (end is null ? 0 : 1), refused.Problems.Count);
        Assert.Equal(end ?? refused.Problems[4], refused.Problems[^1]);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_audit_says_who_imported_a_file(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var import = await system.ImportAsync("barcode,lastName,site\nA1001,Carver,S1\nA1002,Dunn,S2\n");
        var again = await system.ImportAsync("barcode,lastName,site\nA1001,Carver,S1\nA1002,Dunne,S2\n");
        var (lines, _) = await system
            .Get<Audit.AuditLog>()
            .PageAsync(system.District.Id, new Audit.AuditFilter(Action: "import patrons"), 1, 10);
        Assert.Equal(
            [("test", $"Operation {again.Id}: changes 1 of 2"), ("test", $"Operation {import.Id}: changes 2 of 2")],
            lines.Select(l => (l.Actor, l.Details))
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_patron_who_was_changed_in_any_field_after_the_preview_of_a_removal_is_not_removed(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        await system.ImportAsync(
            "barcode,lastName,status,site\nA1001,Carver,Transferred,S1\nA1002,Dunn,Transferred,S2\nA1003,Ely,Transferred,S2\n"
        );
        var bulk = system.Get<PatronBulk>();
        var removal = await EndAsync(
            system,
            await bulk.PlanRemovalAsync(system.District.Id, new PatronFilter(Status: PatronStatus.Transferred), true, "lib")
        );
        await system.Patrons.EditAsync(system.District.Id, "A1001", [new("notes", "owes a book")], "librarian");
        await system.Patrons.EditAsync(system.District.Id, "A1002", [new("doNotTransfer", "yes")], "librarian");
        removal = await system.ApproveAsync(removal.Id);
        Assert.Equal(OperationStatus.CompletedWithWarnings, removal.Status);
        var counts = OperationQueue.CountsOf(removal);
        Assert.True(counts.AddUp, removal.Counts);
        Assert.Equal(1, counts.Removed);
        Assert.Equal(["A1001", "A1002"], (await system.AllPatronsAsync()).Select(p => p.Barcode).Order());
        var left = (await system.LogAsync(removal.Id)).Where(r => r.Stale).ToList();
        Assert.Equal(["A1001", "A1002"], left.Select(r => r.Barcode).Order());
        Assert.All(left, r => Assert.Contains("changed since the plan", r.Warning, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Removal_by_barcode_takes_all_or_nothing_and_warns_of_people_who_would_come_back(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("p1", "Ada", "Byron");
        await system.SyncAsync();
        var barcode = (await system.PatronsByGuidAsync())["p1"].Barcode;
        var bulk = system.Get<PatronBulk>();
        var refused = await Assert.ThrowsAsync<RollcallException>(() =>
            bulk.PlanRemovalAsync(system.District.Id, [barcode, "NOBODY"], false, "lib")
        );
        Assert.Contains("NOBODY", refused.Message, StringComparison.Ordinal);

        // Marked Transferred by hand, and in the roster all the same.
        await system.Patrons.EditAsync(system.District.Id, barcode, [new("status", "Transferred")], "lib");
        var marked = await EndAsync(system, await bulk.PlanRemovalAsync(system.District.Id, [barcode], true, "lib"));
        Assert.Contains(OperationQueue.WarningsOf(marked), w => w.Code == "removed-in-roster");
        await system.Patrons.EditAsync(system.District.Id, barcode, [new("status", "Active")], "lib");
        var removal = await EndAsync(system, await bulk.PlanRemovalAsync(system.District.Id, [barcode.ToLowerInvariant()], false, "lib"));
        Assert.Equal(OperationStatus.CompletedWithWarnings, removal.Status);
        Assert.Empty(await system.AllPatronsAsync());
        var again = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal(1, again.Created);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_patron_added_by_hand_gets_the_sites_defaults_and_has_history(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var patron = await system.Patrons.AddAsync(
            system.District.Id,
            [new("Last Name", "Byron"), new("site", "s1"), new("birthdate", "2015-12-10")],
            "librarian"
        );
        Assert.Equal(("P100001", PatronStatus.Active, "STD"), (patron.Barcode, patron.Status, patron.Policy));
        var next = await system.Patrons.AddAsync(system.District.Id, [new("lastName", "Carver"), new("site", "S1")], "librarian");
        Assert.Equal("P100002", next.Barcode);
        Assert.Single(await system.Get<OperationLog>().HistoryAsync(system.District.Id, patron.Id));
        foreach (
            var bad in (KeyValuePair<string, string?>[][])
                [
                    [new("firstName", "Ada")],
                    [new("lastName", "Ada")],
                    [new("lastName", "Ada"), new("barcode", "p100001")],
                    [new("lastName", "Ada"), new("site", "NOWHERE")],
                    [new("lastName", "Ada"), new("site", "S1"), new("birthdate", "yesterday")],
                ]
        )
        {
            await Assert.ThrowsAsync<RollcallException>(() => system.Patrons.AddAsync(system.District.Id, bad, "librarian"));
        }

        Assert.Equal(2, (await system.AllPatronsAsync()).Count);
    }

    [Fact]
    public void Settings_change_one_by_one_or_say_what_is_wrong()
    {
        var settings = new IntegrationSettings();
        settings = SettingsChange.Field(settings, "Phone Number", "library", null);
        settings = SettingsChange.Field(settings, "1017", null, "clear");
        Assert.Equal(Mapping.FieldPolicy.LibraryKeeps, settings.Map.PolicyOf(PatronFields.Phone));
        Assert.Equal(Mapping.BlankRule.Clear, settings.Map.BlankOf(PatronFields.Phone));
        settings = SettingsChange.Grade(settings, "KG", "K");
        Assert.Equal("K", settings.Map.Grades["KG"]);
        Assert.Empty(SettingsChange.Grade(settings, "KG", "KG").Map.Grades);

        // A grade is the same in either case, as it is when it is translated.
        var other = SettingsChange.Grade(settings, "kg", "Kinder").Map;
        Assert.Equal(("kg", "Kinder"), (Assert.Single(other.Grades).Key, other.Grades["kg"]));
        Assert.Empty(SettingsChange.Grade(settings, "Kg", null).Map.Grades);
        settings = SettingsChange.Threshold(settings, "transfers", 5, null, siteId: 3);
        Assert.Equal(new Threshold(5, 10), settings.Thresholds.At(3, Risk.Transfers));
        Assert.Equal(new Threshold(10, 10), settings.Thresholds.At(4, Risk.Transfers));
        Assert.Equal(new Threshold(0, 10), settings.Thresholds.At(3, Risk.Creates));
        settings = SettingsChange.Daily(settings, "4:30", "changes", DateTimeOffset.UnixEpoch);
        Assert.Equal((new TimeOnly(4, 30), true), (settings.Daily.At, settings.Daily.ChangesOnly));
        settings = SettingsChange.Pause(settings, "2026-12-20", "2027-01-06", default);
        Assert.Single(settings.Daily.Pauses);
        Assert.Empty(SettingsChange.Resume(settings, DateTimeOffset.UnixEpoch).Daily.Pauses);

        // Those that meet are one, and what is over is none.
        var met = SettingsChange.Pause(settings, "2027-01-07", "2027-01-09", new DateOnly(2027, 1, 9));
        Assert.Equal(new PauseDates(new DateOnly(2026, 12, 20), new DateOnly(2027, 1, 9)), Assert.Single(met.Daily.Pauses));
        Assert.Throws<RollcallException>(() => SettingsChange.Pause(settings, "2027-01-07", "2027-01-09", new DateOnly(2027, 1, 10)));

        // A pause that was set to the end of all days before it was refused can be taken away.
        var endless = settings with
        {
            Daily = settings.Daily with { Pauses = [new(new DateOnly(2026, 1, 1), DateOnly.MaxValue)] },
        };
        Assert.Empty(SettingsChange.Unpause(endless, "2026-01-01", "9999-12-31", DateTimeOffset.UnixEpoch).Daily.Pauses);
        foreach (
            var wrong in (Action[])
                [
                    () => SettingsChange.Field(settings, "notes", "fill", null),
                    () => SettingsChange.Field(settings, "email", "never", null),
                    () => SettingsChange.Field(settings, "lastName", null, "clear"),
                    () => SettingsChange.Field(settings, "email", null, null),
                    () => SettingsChange.SiteFrom(settings, "second"),
                    () => SettingsChange.Threshold(settings, "removes", 1, 1, null),
                    () => SettingsChange.Threshold(settings, "creates", 101, null, null),
                    () => SettingsChange.Threshold(settings, "creates", null, 0, null),
                    () => SettingsChange.Daily(settings, "25:00", null, DateTimeOffset.UnixEpoch),
                    () => SettingsChange.Pause(settings, "2027-01-06", "2026-12-20", default),
                    () => SettingsChange.Pause(settings, "2026-12-20", "9999-12-31", default),
                    () => SettingsChange.Pause(settings, "0001-01-01", "2026-12-20", default),
                ]
        )
        {
            Assert.Throws<RollcallException>(wrong);
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Patrons_are_chosen_by_role_link_homeroom_and_barcode_and_files_by_their_columns(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("p1", "Ada", "Byron");
        await system.SyncAsync();
        using var file = new MemoryStream(System.Text.Encoding.UTF8.GetBytes("chip,who,room,junk\nC1001,Carver,R 1,x\nC1002,Dunn,R 2,y\n"));
        var (text, columns, rows) = await PatronImport.InspectAsync(file);
        Assert.Equal((2, 4, "Carver"), (rows, columns.Count, columns[1].Samples[0]));
        Assert.All(columns, c => Assert.Null(c.Field));
        file.Position = 0;
        Assert.Contains("C1002", text, StringComparison.Ordinal);
        await EndAsync(
            system,
            await system
                .Get<PatronImport>()
                .PlanAsync(system.District.Id, file, "c.csv", false, "lib", ["barcode", "lastName", "location", ""])
        );

        async Task<string[]> NamesAsync(PatronFilter filter) =>
            [
                .. (await system.Patrons.PageAsync(system.District.Id, filter, PatronSort.Name, false, 1, 10)).Patrons.Select(p =>
                    p.LastName
                ),
            ];
        Assert.Equal(["Byron"], await NamesAsync(new PatronFilter { RoleGroup = RoleGroup.Student }));
        Assert.Empty(await NamesAsync(new PatronFilter { RoleGroup = RoleGroup.Teacher }));
        Assert.Equal(["Carver", "Dunn"], await NamesAsync(new PatronFilter { Linked = false }));
        Assert.Equal(["Byron"], await NamesAsync(new PatronFilter { Linked = true }));
        Assert.Equal(["Dunn"], await NamesAsync(new PatronFilter { Location = "R 2" }));
        Assert.Equal(["Dunn"], await NamesAsync(new PatronFilter { Barcodes = ["c1002", " NONE "] }));
        Assert.Equal(["R 1", "R 2"], await system.Patrons.LocationsAsync(system.District.Id, null));

        // A save from a page that is out of date is refused, whole.
        var (dunn, _) = await system.Patrons.GetAsync(system.District.Id, "C1002");
        await system.Patrons.EditAsync(system.District.Id, "C1002", [new("notes", "first")], "one", SeenPatron.Of(dunn));
        await Assert.ThrowsAsync<PatronChangedException>(() =>
            system.Patrons.EditAsync(system.District.Id, "C1002", [new("notes", "second")], "two", SeenPatron.Of(dunn))
        );
        var (now, _) = await system.Patrons.GetAsync(system.District.Id, "C1002");
        Assert.Equal("first", now.Notes);
        Assert.Contains(PatronMerge.Compare(dunn, now), f => f.Field.Name == "notes" && f is { Kept: null, Gone: "first", Filled: true });
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whoever_another_record_was_merged_into_since_is_not_removed(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        Assert.Null(
            (await system.ImportAsync("barcode,lastName,firstName,site\nKEEP1,Byron,Ada,S1\nOLD1,Byron,Ada,S1\nOLD2,Carver,Ben,S1\n")).Error
        );
        var bulk = system.Get<PatronBulk>();
        var id = await bulk.PlanRemovalAsync(system.District.Id, ["KEEP1", "OLD2"], preview: true, "librarian");
        await EndAsync(system, id);

        // There is nothing to fill: the record that stays is as it was.
        await system.Get<PatronMerge>().MergeAsync(system.District.Id, "KEEP1", "OLD1", "librarian");
        var approved = await system.ApproveAsync(id);
        Assert.Null(approved.Error);
        Assert.Equal("KEEP1", Assert.Single(await system.AllPatronsAsync()).Barcode);
        Assert.Contains(await system.LogAsync(id), r => r is { Stale: true, Barcode: "KEEP1" });
        Assert.True(OperationQueue.CountsOf(approved) is { Removed: 1, AddUp: true }, approved.Counts);
    }

    /// <summary>A patron who stands for two records of the roster goes like any other, as long as they stand for no more than somebody looked at.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_patron_of_several_records_can_be_removed(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 20, Schools = 2 });
        system.Sandbox.OnlyMine();
        for (var i = 0; i < 7; i++)
        {
            system.Sandbox.Person($"r{i}", "Ada", $"Byron{i}");
        }

        await system.SyncAsync();
        var patrons = (await system.PatronsByGuidAsync()).ToDictionary(p => p.Key, p => p.Value.Barcode);
        await MergeAsync("r0", "r1");
        await MergeAsync("r2", "r3");
        await MergeAsync("r4", "r5");
        system.Sandbox.Overrides.Remove("users", [.. patrons.Keys.Where(k => k != "r6")]);
        Assert.Equal(3, OperationQueue.CountsOf(await system.SyncAsync()).Transferred);
        var bulk = system.Get<PatronBulk>();
        var atOnce = await EndAsync(system, await bulk.PlanRemovalAsync(system.District.Id, [patrons["r0"]], preview: false, "librarian"));
        Assert.True(OperationQueue.CountsOf(atOnce) is { Removed: 1, AddUp: true }, atOnce.Counts);
        var preview = await EndAsync(
            system,
            await bulk.PlanRemovalAsync(system.District.Id, [patrons["r2"], patrons["r4"]], preview: true, "librarian")
        );
        await MergeAsync("r4", "r6");
        var approved = await system.ApproveAsync(preview.Id);
        Assert.True(OperationQueue.CountsOf(approved) is { Removed: 1, AddUp: true }, approved.Counts);
        Assert.Equal(patrons["r4"], Assert.Single(await system.AllPatronsAsync()).Barcode);

        Task<long> MergeAsync(string keep, string other) =>
            system.Get<PatronMerge>().MergeAsync(system.District.Id, patrons[keep], patrons[other], "librarian");
    }

    /// <summary>That the library keeps a field is said of the value that it has, and comes along with that value alone.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_merge_takes_the_marks_of_the_values_that_it_takes(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        Assert.Null(
            (
                await system.ImportAsync(
                    "barcode,lastName,firstName,site,email,phone,keptFields\n"
                        + "KEEP1,Byron,Ada,S1,,555-1,firstName\nOLD1,Byron,Adah,S1,ada@school.example,555-2,email phone\n"
                        + "KEEP2,Carver,Ben,S1,,555-1,\nOLD2,Carver,Ben,S1,,555-2,phone\n"
                )
            ).Error
        );
        var merge = system.Get<PatronMerge>();
        var one = await merge.MergeAsync(system.District.Id, "KEEP1", "OLD1", "librarian");
        await merge.MergeAsync(system.District.Id, "KEEP2", "OLD2", "librarian");
        var patrons = (await system.AllPatronsAsync()).ToDictionary(p => p.Barcode);
        Assert.Equal(("ada@school.example", "555-1"), (patrons["KEEP1"].Email, patrons["KEEP1"].Phone));
        Assert.Equal(Marks("firstName", "email"), patrons["KEEP1"].KeptFields);
        Assert.Null(patrons["KEEP2"].KeptFields);
        await UndoTests.UndoAsync(system, one);
        patrons = (await system.AllPatronsAsync()).ToDictionary(p => p.Barcode);
        Assert.Equal((Marks("firstName"), Marks("email", "phone")), (patrons["KEEP1"].KeptFields, patrons["OLD1"].KeptFields));

        static string Marks(params string[] names) => string.Join(',', names.Select(n => PatronFields.Find(n)!.Number).Order());
    }

    private static Task<Operation> EndAsync(Installation system, long id) =>
        system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None);
}
