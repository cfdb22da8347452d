using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>Who is who, rule by rule, against a library that had its patrons before the first sync.</summary>
public sealed class MatchingTests(PostgresCluster cluster)
{
    private const string Header = "barcode,communityId,firstName,lastName,email,site,birthdate,group\n";

    private static readonly FieldMap s_map = new()
    {
        CommunityId = new IdMapping(IdSource.Identifier),
        Barcode = new IdMapping(IdSource.UserIdType, "Card"),
    };

    private async Task<Installation> StartAsync(Db db, string library)
    {
        var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = s_map });
        if (library.Length > 0)
        {
            var import = await system.ImportAsync(Header + library);
            Assert.Null(import.Error);
        }

        return system;
    }

    private static async Task<(IReadOnlyList<LogRow> Log, SyncCounts Counts)> SyncAsync(Installation system)
    {
        var operation = await system.SyncAsync();
        Assert.Null(operation.Error);
        var counts = OperationQueue.CountsOf(operation);
        Assert.True(counts.AddUp, counts.ToString());
        return (await system.LogAsync(operation.Id), counts);
    }

    private static LogRow Line(IReadOnlyList<LogRow> log, string guid) => Assert.Single(log, r => r.Guid == guid);

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Keys_are_tried_in_order_and_a_guid_is_final(Db db)
    {
        await using var system = await StartAsync(
            db,
            """
            CARD-1,1001,Ann,Alpha,,S1,,
            CARD-2,1002,Ben,Beta,,S1,,
            CARD-3,,Cid,Gamma,cid@x.org,S1,,
            CARD-4,1004,Dan,Delta,,S1,,
            """
        );
        system.Sandbox.Person("u1", "Ann", "Alpha", number: "1001");
        system.Sandbox.Person("u2", "Ben", "Beta", barcode: "CARD-2");
        system.Sandbox.Person("u3", "Cid", "Gamma", email: "CID@x.org");
        var (log, counts) = await SyncAsync(system);
        Assert.Equal((1, 1, 1), (counts.LinkedStudentNumber, counts.LinkedBarcode, counts.LinkedEmail));
        Assert.Equal(0, counts.Created);
        Assert.Equal("CARD-1", Line(log, "u1").Barcode);
        Assert.Equal("barcode", Line(log, "u2").MatchedBy);
        Assert.Equal("CARD-3", Line(log, "u3").Barcode);

        // From now on the GUID decides, whatever weaker keys say.
        system.Sandbox.Person("u1", "Ann", "Alpha", number: "1004");
        var (second, after) = await SyncAsync(system);
        Assert.Equal(3, after.LinkedGuid);
        Assert.Contains("belongs to another patron", Line(second, "u1").Warning, StringComparison.Ordinal);
        Assert.Equal("1004", (await system.PatronsByGuidAsync())["u1"].CommunityId);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Keys_that_disagree_and_keys_with_several_holders_go_to_review(Db db)
    {
        await using var system = await StartAsync(
            db,
            """
            CARD-1,1001,Ann,Alpha,ann@x.org,S1,,
            CARD-2,1002,Ben,Beta,ben@x.org,S1,,
            CARD-3,1003,Cid,Gamma,,S1,,
            CARD-4,1003,Cat,Gamma,,S1,,
            CARD-5,1005,Eve,Epsilon,eve@x.org,S1,,
            CARD-6,1006,Fay,Phi,fay@x.org,S1,,
            CARD-7,1007,Gus,Chi,gus@x.org,S1,,
            CARD-8,,Hal,Psi,both@x.org,S1,,
            CARD-9,,Ida,Psi,both@x.org,S1,,
            """
        );
        system.Sandbox.Person("mail-at-several", "Gus", "Chi", number: "1007", email: "both@x.org");
        system.Sandbox.Person("two-keys", "Ann", "Alpha", number: "1001", barcode: "CARD-2");
        system.Sandbox.Person("two-holders", "Cid", "Gamma", number: "1003");
        system.Sandbox.Person("mail-elsewhere", "Eve", "Epsilon", number: "1005", email: "fay@x.org");
        var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);
        var (log, counts) = await SyncAsync(system);
        Assert.Equal((4, 4), (counts.Read, counts.Review));
        Assert.Equal("review", Line(log, "two-keys").Outcome);
        Assert.Equal(before, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));
        var queue = await system.Get<ReviewService>().ListAsync(system.District.Id);
        Assert.Equal(["CARD-1", "CARD-2"], queue.Single(r => r.Guid == "two-keys").Candidates.Order());
        Assert.Equal(["CARD-3", "CARD-4"], queue.Single(r => r.Guid == "two-holders").Candidates.Order());
        Assert.Equal(["CARD-5", "CARD-6"], queue.Single(r => r.Guid == "mail-elsewhere").Candidates.Order());
        Assert.Equal(["CARD-7", "CARD-8", "CARD-9"], queue.Single(r => r.Guid == "mail-at-several").Candidates.Order());
    }

    /// <summary>Ids that are given anew bring nobody in a second time where an address and a whole name say who it is, and make no sister of a
    /// brother.</summary>
    [Theory]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    [InlineData(Db.Sqlite, true)]
    [InlineData(Db.Postgres, true)]
    public async Task An_id_that_was_given_anew_is_found_by_email_and_name(Db db, bool deleted)
    {
        await using var system = await StartAsync(db, "");
        (string Id, string First, string Last, string Email, string Role)[] people =
        [
            ("one", "Ann", "Alpha", "ann@x.org", "student"),
            ("kid-1", "Ben", "Beta", "beta@x.org", "student"),
            ("kid-2", "Bea", "Beta", "beta@x.org", "student"),
            ("kid-3", "Bo", "Beta", "beta@x.org", "student"),
            ("sister", "Cora", "Gamma", "gamma@x.org", "student"),
            ("grown", "Dora", "Delta", "delta@x.org", "student"),
            ("pupil", "Eve", "Eta", "eve@x.org", "student"),
            ("born", "Fay", "Phi", "fay@x.org", "student"),
            ("boss", "Gus", "Chi", "gus@x.org", "teacher"),
            ("wed", "Hal", "Psi", "hal@x.org", "teacher"),
        ];
        foreach (var (id, first, last, email, role) in people)
        {
            system.Sandbox.Person("old-" + id, first, last, email: email, role: role);
        }

        for (var i = 0; i < 60; i++)
        {
            system.Sandbox.Person($"stays-{i}", $"First{i}", $"Last{i}", role: i < 30 ? "student" : "teacher");
        }

        system.Sandbox.Born("old-grown", "2010-01-01");
        system.Sandbox.Born("old-born", "2011-01-01");
        Assert.Equal(70, (await SyncAsync(system)).Counts.Created);
        var before = await system.PatronsByGuidAsync();
        await system.Patrons.EditAsync(system.District.Id, before["old-boss"].Barcode, [new("group", "Librarian")], "test");

        // One of a family keeps the id: the others' address is no less theirs.
        foreach (var (id, first, last, email, role) in people.Where(p => p.Id != "kid-3"))
        {
            if (deleted)
            {
                system.Sandbox.Person("old-" + id, first, last, email: email, role: role, status: "tobedeleted");
            }
            else
            {
                system.Sandbox.Overrides.Remove("users", "old-" + id);
            }
        }

        system.Sandbox.Person("new-one", "ANN", "Álpha", email: "Ann@X.org");
        system.Sandbox.Person("new-kid-1", "Ben", "Beta", email: "beta@x.org");
        system.Sandbox.Person("new-kid-2", "Bea", "Beta", email: "beta@x.org");
        system.Sandbox.Person("brother", "Carl", "Gamma", email: "gamma@x.org");
        system.Sandbox.Person("younger", "Dan", "Delta", email: "delta@x.org");
        system.Sandbox.Born("younger", "2014-01-01");
        system.Sandbox.Person("teacher", "Eve", "Eta", email: "eve@x.org", role: "teacher");
        system.Sandbox.Person("namesake", "Fay", "Phi", email: "fay@x.org");
        system.Sandbox.Born("namesake", "2015-01-01");
        system.Sandbox.Person("new-boss", "Gus", "Chi", email: "gus@x.org", role: "teacher");
        system.Sandbox.Person("new-wed", "Hal", "Omega", email: "hal@x.org", role: "teacher");
        var (log, counts) = await SyncAsync(system);
        var after = await system.PatronsByGuidAsync();
        foreach (var id in (string[])["one", "kid-1", "kid-2"])
        {
            Assert.Equal(before["old-" + id].Id, after["new-" + id].Id);
            Assert.Equal((PatronStatus.Active, "reissued"), (after["new-" + id].Status, Line(log, "new-" + id).MatchedBy));
            Assert.False(after.ContainsKey("old-" + id));
        }

        Assert.Equal(before["old-kid-3"].Version, after["old-kid-3"].Version);
        Assert.Equal(3, counts.LinkedEmail);
        Assert.Equal(
            ["brother", "namesake", "new-boss", "new-wed"],
            log.Where(r => r.Outcome == "review").Select(r => r.Guid).Order(StringComparer.Ordinal)
        );
        Assert.Equal(["teacher", "younger"], log.Where(r => r.Outcome == "created").Select(r => r.Guid).Order(StringComparer.Ordinal));
        Assert.Equal(before.Count + 2, (await system.AllPatronsAsync()).Count);

        // Once more: nothing moves any more, and what waits goes on waiting.
        var (_, again) = await SyncAsync(system);
        Assert.Equal((0, 0, 4), (again.Created, again.Transferred, again.Review));
    }

    /// <summary>Where a row has no id, or rows shifted, nobody is known to be gone: who has the address of somebody who may be is asked about, and is
    /// nobody new.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Who_may_have_another_id_is_asked_about_where_the_pull_cannot_tell(Db db)
    {
        await using var system = await StartAsync(db, "");
        for (var i = 0; i < 20; i++)
        {
            // One of them, who come first, is the row without an id.
            system.Sandbox.Person($"0-{i}", $"First{i}", $"Last{i}");
        }

        system.Sandbox.Person("old-1", "Ann", "Alpha", email: "ann@x.org");
        system.Sandbox.Person("old-2", "Ben", "Beta", email: "ben@x.org");
        system.Sandbox.Person("kid", "Cid", "Gamma", email: "gamma@x.org");
        Assert.Equal(23, (await SyncAsync(system)).Counts.Created);
        var before = await system.PatronsByGuidAsync();
        system.Sandbox.Overrides.Remove("users", "old-1", "old-2");
        system.Sandbox.Person("new-1", "ANN", "Álpha", email: "Ann@X.org");
        system.Sandbox.Person("new-2", "Ben", "Omega", email: "ben@x.org");
        system.Sandbox.Person("sibling", "Cleo", "Gamma", email: "gamma@x.org");
        system.Sandbox.Faults.Set("no-sourcedid:users");
        var (log, counts) = await SyncAsync(system);
        Assert.Equal((1, 2, 0), (counts.Created, counts.Review, counts.Transferred));
        Assert.Equal("created", Line(log, "sibling").Outcome);
        foreach (var id in (string[])["new-1", "new-2"])
        {
            Assert.Equal("review", Line(log, id).Outcome);
            Assert.Contains("this pull cannot tell whether it is gone", Line(log, id).Reason, StringComparison.Ordinal);
        }

        // A whole one can.
        system.Sandbox.Faults.Set("");
        (log, counts) = await SyncAsync(system);
        Assert.Equal((0, 1), (counts.Created, counts.Review));
        Assert.Equal((before["old-1"].Id, "reissued"), ((await system.PatronsByGuidAsync())["new-1"].Id, Line(log, "new-1").MatchedBy));
    }

    /// <summary>Whom a barcode reaches is nobody's to have by an address, though the Student # beside it is several patrons'.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_barcode_counts_beside_a_number_that_several_have(Db db)
    {
        await using var system = await StartAsync(
            db,
            """
            CARD-1,1003,Cid,Gamma,,S1,,
            CARD-2,1003,Cat,Gamma,,S1,,
            CARD-9,,Zoe,Zeta,zoe@x.org,S1,,
            """
        );
        system.Sandbox.Person("both", "Cid", "Gamma", number: "1003", barcode: "CARD-9");
        system.Sandbox.Person("mail", "Zoe", "Zeta", email: "zoe@x.org");
        var (log, counts) = await SyncAsync(system);
        Assert.Equal(2, counts.Review);
        Assert.Contains("more than the email", Line(log, "mail").Reason, StringComparison.Ordinal);
        var queue = await system.Get<ReviewService>().ListAsync(system.District.Id);
        Assert.Equal(["CARD-1", "CARD-2", "CARD-9"], queue.Single(r => r.Guid == "both").Candidates.Order());
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_live_twin_goes_to_review_and_a_reissued_id_is_linked(Db db)
    {
        await using var system = await StartAsync(db, "");
        system.Sandbox.Person("old-1", "Ann", "Alpha", number: "1001");
        system.Sandbox.Person("old-2", "Ben", "Beta", number: "1002");
        system.Sandbox.Person("old-3", "Cid", "Gamma", number: "1003");
        system.Sandbox.Person("old-4", "Dan", "Delta", number: "1004", role: "teacher");
        system.Sandbox.Person("old-5", "Eve", "Epsilon", number: "1005");
        system.Sandbox.Born("old-5", "2005-03-02");
        var (_, first) = await SyncAsync(system);
        Assert.Equal(5, first.Created);
        var ids = (await system.PatronsByGuidAsync()).ToDictionary(p => p.Key, p => p.Value.Id);

        system.Sandbox.Person("twin-1", "Ann", "Alpha", number: "1001");
        system.Sandbox.Overrides.Remove("users", "old-2", "old-3", "old-5");
        system.Sandbox.Person("new-2", "Benjamin", "Beta", number: "1002");
        system.Sandbox.Person("new-3", "Somebody", "Else", number: "1003");
        system.Sandbox.Person("old-4", "Dan", "Delta", number: "1004", role: "teacher", status: "tobedeleted");
        system.Sandbox.Person("new-4", "Dan", "Delta", number: "1004", role: "teacher");

        // A number that is used again years later, for somebody of the same last name.
        system.Sandbox.Person("new-5", "Tom", "Epsilon", number: "1005");
        system.Sandbox.Born("new-5", "2015-03-02");
        var (log, second) = await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal("review", Line(log, "twin-1").Outcome);
        Assert.Contains("twice in the roster", Line(log, "twin-1").Reason, StringComparison.Ordinal);
        Assert.Equal(ids["old-2"], patrons["new-2"].Id);
        Assert.Equal("reissued", Line(log, "new-2").MatchedBy);
        Assert.Equal("review", Line(log, "new-3").Outcome);
        Assert.Equal(ids["old-4"], patrons["new-4"].Id);
        Assert.Equal(PatronStatus.Active, patrons["new-4"].Status);
        Assert.Equal(PatronStatus.Transferred, patrons["old-3"].Status);
        Assert.Equal(
            ("review", "The patron found by Student # had another id that is gone, and another birthdate"),
            (Line(log, "new-5").Outcome, Line(log, "new-5").Reason)
        );
        Assert.Equal((2, 2), (second.Transferred, second.Absent));
        Assert.Equal(0, second.Created);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_email_alone_links_only_where_names_leave_one_pair(Db db)
    {
        await using var system = await StartAsync(
            db,
            """
            CARD-1,,Ann,Alpha,alpha@x.org,S1,,
            CARD-2,,Abe,Alpha,alpha@x.org,S1,,
            CARD-3,,Old,Maiden,bride@x.org,S1,,
            CARD-4,,Uma,Upsilon,house@x.org,S1,,
            CARD-5,,Vic,Upsilon,house@x.org,S1,,
            CARD-6,,Lib,Rarian,lib@x.org,S1,,Librarian
            CARD-7,,Zoë,Łukasz,zoe@x.org,S1,,
            CARD-8,,Ida,Iota,iota@x.org,S1,,
            CARD-9,,Ike,Iota,iota@x.org,S1,,
            """
        );
        system.Sandbox.Person("ida", "Ida", "Iota", email: "iota@x.org");
        system.Sandbox.Person("ivy", "Ivy", "Iota", email: "iota@x.org");
        system.Sandbox.Person("ann", "Ann", "Alpha", email: "alpha@x.org");
        system.Sandbox.Person("abe", "ABE", "alpha", email: "Alpha@X.org");
        system.Sandbox.Person("new-sibling", "Amy", "Alpha", email: "alpha@x.org");
        system.Sandbox.Person("bride", "Bea", "Married", email: "bride@x.org");
        system.Sandbox.Person("stranger", "Sam", "Sigma", email: "house@x.org");
        system.Sandbox.Person("uma", "Uma", "Upsilon", email: "house@x.org");
        system.Sandbox.Person("lib", "Lib", "Rarian", email: "lib@x.org", role: "teacher");
        system.Sandbox.Person("zoe", "Zoe", "Lukasz", email: "zoe@x.org");
        var (log, counts) = await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal("CARD-1", patrons["ann"].Barcode);
        Assert.Equal("CARD-2", patrons["abe"].Barcode);
        Assert.Equal("created", Line(log, "new-sibling").Outcome);
        Assert.Equal("CARD-8", patrons["ida"].Barcode);

        // Of her family one patron is left whom nobody of the roster is.
        Assert.Equal("review", Line(log, "ivy").Outcome);
        Assert.Equal(["CARD-9"], (await system.Get<ReviewService>().ListAsync(system.District.Id)).Single(r => r.Guid == "ivy").Candidates);
        Assert.Equal("review", Line(log, "bride").Outcome);
        Assert.Equal("created", Line(log, "stranger").Outcome);
        Assert.Equal("CARD-4", patrons["uma"].Barcode);
        Assert.Equal("review", Line(log, "lib").Outcome);
        Assert.Equal("CARD-7", patrons["zoe"].Barcode);
        Assert.Equal(5, counts.LinkedEmail);
    }

    /// <summary>Somebody's number is changed, and somebody new gets the old one: the roster says so in the same pull.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_number_that_was_given_on_says_nothing_of_who_had_it(Db db)
    {
        await using var system = await StartAsync(db, "");
        system.Sandbox.Person("ann", "Ann", "Alpha", number: "1001");
        system.Sandbox.Person("cid", "Cid", "Gamma", number: "1003");
        system.Sandbox.Person("eve", "Eve", "Epsilon", number: "1004");
        system.Sandbox.Person("fay", "Fay", "Phi", number: "1005");
        await SyncAsync(system);
        var fay = (await system.PatronsByGuidAsync())["fay"];
        await system.Patrons.EditAsync(system.District.Id, fay.Barcode, [new("keptFields", $"{PatronFields.CommunityId}")], "librarian");
        system.Sandbox.Person("fay", "Fay", "Phi", number: "2005");
        system.Sandbox.Person("new-of-kept", "Gus", "Chi", number: "1005");
        system.Sandbox.Person("ann", "Ann", "Alpha", number: "2001");
        system.Sandbox.Person("new", "Dan", "Delta", number: "1001");

        // Two records of one person, the second of which got the first one's number.
        system.Sandbox.Person("cid", "Cid", "Gamma", number: "2003");
        system.Sandbox.Person("cid-again", "Cid", "Gamma", number: "1003");
        system.Sandbox.Person("eve", "Eve", "Epsilon", number: "2004");
        system.Sandbox.Person("evi", "Evi", "Epsilon", number: "1004");
        var (log, counts) = await SyncAsync(system);
        Assert.Equal((1, 3), (counts.Created, counts.Review));
        Assert.All((string[])["cid-again", "evi", "new-of-kept"], g => Assert.Equal("review", Line(log, g).Outcome));
        Assert.Equal(
            [("ann", "2001"), ("cid", "2003"), ("eve", "2004"), ("fay", "1005"), ("new", "1001")],
            (await system.PatronsByGuidAsync()).Values.OrderBy(p => p.Guid, StringComparer.Ordinal).Select(p => (p.Guid!, p.CommunityId!))
        );
    }

    /// <summary>The next sync would make them without a question.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Brothers_and_sisters_of_whoever_is_found_are_new_in_the_first_sync_too(Db db)
    {
        await using var system = await StartAsync(
            db,
            """
            CARD-1,1001,Jacob,Novak,novak@x.org,S1,,
            CARD-2,1002,Ann,Alpha,alpha@x.org,S1,,
            CARD-3,1003,Eve,Epsilon,eps@x.org,S1,,
            """
        );
        system.Sandbox.Person("jacob", "Jacob", "Novak", number: "1001", email: "novak@x.org");
        system.Sandbox.Person("henry", "Henry", "Novak", number: "2001", email: "novak@x.org");

        // The same name again may be the same person; and so may somebody whose address the other record does not have.
        system.Sandbox.Person("ann", "Ann", "Alpha", number: "1002", email: "alpha@x.org");
        system.Sandbox.Person("ann-again", "Ann", "Alpha", email: "alpha@x.org");
        system.Sandbox.Person("eve", "Eve", "Epsilon", number: "1003");
        system.Sandbox.Person("evie", "Evie", "Epsilon", email: "eps@x.org");
        var (log, counts) = await SyncAsync(system);
        Assert.Equal(
            ["updated", "created", "updated", "review", "updated", "review"],
            ((string[])["jacob", "henry", "ann", "ann-again", "eve", "evie"]).Select(g => Line(log, g).Outcome)
        );
        Assert.Equal((2, 1), (counts.Review, counts.Created));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Two_people_for_one_patron_the_stronger_key_wins_and_equals_both_wait(Db db)
    {
        await using var system = await StartAsync(
            db,
            """
            CARD-1,1001,Ann,Alpha,ann@x.org,S1,,
            CARD-2,1002,Ben,Beta,,S1,,
            """
        );
        system.Sandbox.Person("by-number", "Ann", "Alpha", number: "1001");
        system.Sandbox.Person("by-card", "Anna", "Alpha", barcode: "CARD-1");
        system.Sandbox.Person("by-mail", "Annie", "Alpha", email: "ann@x.org");
        system.Sandbox.Person("equal-1", "Ben", "Beta", number: "1002");
        system.Sandbox.Person("equal-2", "Ben", "Beta", number: "1002");
        var (log, counts) = await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal("CARD-1", patrons["by-number"].Barcode);
        Assert.Equal(
            ["review", "review", "review", "review"],
            ((string[])["by-card", "by-mail", "equal-1", "equal-2"]).Select(g => Line(log, g).Outcome)
        );
        Assert.Single(patrons);
        Assert.Equal(4, counts.Review);
    }

    /// <summary>Whoever reaches a patron by a stronger key and waits in Review all the same leaves nobody to a weaker one.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Nobody_gets_by_a_weaker_key_whom_somebody_in_review_reaches_by_a_stronger_one(Db db)
    {
        await using var system = await StartAsync(
            db,
            """
            CARD-1,1001,Ann,Alpha,smith@x.org,S1,,
            CARD-2,,Zed,Omega,,S1,,
            CARD-3,1003,Cid,Gamma,,S1,,
            CARD-4,,Yan,Omicron,,S1,,
            CARD-5,1005,Eve,Epsilon,eps@x.org,S1,,
            CARD-6,1006,Fay,Phi,,S1,,
            CARD-7,,Xia,Pi,,S1,,
            CARD-8,1008,Gus,Chi,,S1,,
            CARD-9,1008,Hal,Chi,,S1,,
            CARD-10,1010,Ida,Iota,iota@x.org,S1,,
            CARD-11,,Jon,Kappa,kappa@x.org,S1,,
            CARD-12,1012,Kim,Lambda,,S1,,
            """
        );
        string[] waiting =
        [
            // Two keys that disagree, and a brother by the family's address, by the card, or by the same number.
            "ann",
            "ann-mail",
            "cid",
            "cid-card",
            "fay",
            "fay-number",
            // Two of one number, and the family's address.
            "eve-1",
            "eve-2",
            "eve-mail",
            // One number at several patrons, and the card of one of them.
            "gus",
            "gus-card",
            // A number and an address that disagree, and the family's address.
            "ida",
            "ida-mail",
        ];
        system.Sandbox.Person("ann", "Ann", "Alpha", number: "1001", barcode: "CARD-2", email: "ann@x.org");
        system.Sandbox.Person("ann-mail", "Ben", "Alpha", email: "smith@x.org");
        system.Sandbox.Person("cid", "Cid", "Gamma", number: "1003", barcode: "CARD-4");
        system.Sandbox.Person("cid-card", "Dan", "Gamma", barcode: "CARD-3");
        system.Sandbox.Person("fay", "Fay", "Phi", number: "1006", barcode: "CARD-7");
        system.Sandbox.Person("fay-number", "Flo", "Phi", number: "1006");
        system.Sandbox.Person("eve-1", "Eve", "Epsilon", number: "1005");
        system.Sandbox.Person("eve-2", "Eva", "Epsilon", number: "1005");
        system.Sandbox.Person("eve-mail", "Eli", "Epsilon", email: "eps@x.org");
        system.Sandbox.Person("gus", "Gus", "Chi", number: "1008");
        system.Sandbox.Person("gus-card", "Guy", "Chi", barcode: "CARD-8");
        system.Sandbox.Person("ida", "Ida", "Iota", number: "1010", email: "kappa@x.org");
        system.Sandbox.Person("ida-mail", "Ian", "Iota", email: "iota@x.org");
        system.Sandbox.Person("kim", "Kim", "Lambda", number: "1012");
        var (log, counts) = await SyncAsync(system);
        Assert.Equal(["kim"], (await system.PatronsByGuidAsync()).Keys);
        Assert.All(waiting, g => Assert.Equal("review", Line(log, g).Outcome));
        Assert.Equal((waiting.Length, 0), (counts.Review, counts.Created));
        var queue = await system.Get<ReviewService>().ListAsync(system.District.Id);
        foreach (
            var (who, card, key) in ((string, string, string)[])
                [
                    ("ann-mail", "CARD-1", "more than the email"),
                    ("cid-card", "CARD-3", "by Student #, which"),
                    ("eve-mail", "CARD-5", "more than the email"),
                ]
        )
        {
            var item = queue.Single(r => r.Guid == who);
            Assert.Equal([card], item.Candidates);
            Assert.Contains(key, item.Reason, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Blanks_never_match_and_a_taken_barcode_never_stops_the_run(Db db)
    {
        await using var system = await StartAsync(
            db,
            """
            CARD-1,,Ann,Alpha,,S1,,
            P100001,,Ben,Beta,,S1,,
            """
        );
        system.Sandbox.Person("blank-1", "Ann", "Alpha", number: " ​ ", email: " ", barcode: " ");
        system.Sandbox.Person("blank-2", "Ann", "Alpha");
        system.Sandbox.Person("bad-card", "Cid", "Gamma", barcode: "no spaces please");
        system.Sandbox.Person("reserved", "Dan", "Delta", barcode: "7");
        var (log, counts) = await SyncAsync(system);
        Assert.Equal((4, 4), (counts.Read, counts.Created));
        Assert.Equal(0, counts.LinkedEmail + counts.LinkedBarcode + counts.LinkedStudentNumber);
        var patrons = await system.AllPatronsAsync();
        Assert.Equal(6, patrons.Count);
        Assert.Equal(6, patrons.Select(p => p.BarcodeKey).Distinct().Count());
        Assert.NotNull(Line(log, "bad-card").Warning);
        Assert.NotNull(Line(log, "reserved").Warning);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Deleted_rows_match_by_guid_only_and_write_the_status_only(Db db)
    {
        await using var system = await StartAsync(db, "CARD-1,1001,Ann,Alpha,ann@x.org,S1,,\n");
        system.Sandbox.Person("gone", "Ann", "Alpha", number: "1001", email: "ann@x.org", status: "tobedeleted");
        system.Sandbox.Person("here", "Ben", "Beta", number: "1002");
        var (log, counts) = await SyncAsync(system);
        Assert.Equal("skipped", Line(log, "gone").Outcome);
        Assert.Null((await system.AllPatronsAsync()).Single(p => p.Barcode == "CARD-1").Guid);

        system.Sandbox.Person("here", "Changed", "Name", number: "9999", status: "inactive");
        (log, counts) = await SyncAsync(system);
        var patron = (await system.PatronsByGuidAsync())["here"];
        Assert.Equal(
            (PatronStatus.Transferred, "Ben", "Beta", "1002"),
            (patron.Status, patron.FirstName, patron.LastName, patron.CommunityId)
        );
        Assert.Equal((1, 0), (counts.Transferred, counts.Absent));

        // Back again: the status held before returns.
        system.Sandbox.Person("here", "Ben", "Beta", number: "1002");
        (log, counts) = await SyncAsync(system);
        Assert.Equal(1, counts.Reactivated);
        Assert.Equal(PatronStatus.Active, (await system.PatronsByGuidAsync())["here"].Status);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_deleted_row_links_whose_guid_was_entered_in_its_own_role(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        await system.ImportAsync("barcode,lastName,firstName,site,guid\nCARD-1,Alpha,Ann,S1,gone\n");
        system.Sandbox.Person("gone", "Ann", "Alpha", role: "teacher", status: "tobedeleted");
        system.Sandbox.Person("here", "Ben", "Beta");
        var (_, counts) = await SyncAsync(system);
        Assert.Equal(1, counts.Transferred);
        await using var context = system.Database.CreateContext();
        var patron = (await system.PatronsByGuidAsync())["gone"];
        Assert.Equal(RoleGroup.Teacher, context.PatronLinks.Single(l => l.PatronId == patron.Id).RoleGroup);
    }

    /// <summary>A file of a former system brings its ids along. Whom the roster does not have under such an id is found by the other keys, and is nobody
    /// new beside it without a word.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Ids_of_a_former_system_hide_nobody(Db db)
    {
        await using var system = await StartAsync(db, "");
        var file = new System.Text.StringBuilder("barcode,communityId,lastName,firstName,email,site,guid\n");
        for (var i = 0; i < 30; i++)
        {
            var (number, email) = i < 10 ? ($"{i}", "") : ("", i < 18 ? $"m{i}@x.org" : "");
            file.Append(System.Globalization.CultureInfo.InvariantCulture, $"OLD{i:00},{number},Last{i},First{i},{email},S1,former-{i}\n");
            system.Sandbox.Person($"n{i}", i == 17 ? "Sister" : $"First{i}", $"Last{i}", number: $"{i}", email: $"m{i}@x.org");
        }

        Assert.Null((await system.ImportAsync(file.ToString())).Error);
        var (log, counts) = await SyncAsync(system);
        var patrons = await system.AllPatronsAsync();
        Assert.Equal((10, 7, 1), (counts.LinkedStudentNumber, counts.LinkedEmail, counts.Review));
        Assert.Equal("One patron has this email, but under another name and a GUID that the roster does not have", Line(log, "n17").Reason);
        Assert.Equal((12, 12), (counts.Created, counts.Held));
        Assert.Equal(30, patrons.Count);
        Assert.All(
            patrons.Where(p => p.Guid!.StartsWith('n')),
            p => Assert.Equal(($"OLD{p.Guid![1..].PadLeft(2, '0')}", PatronStatus.Active), (p.Barcode, p.Status))
        );
        Assert.Equal("The roster does not have the GUID that the patron had", Line(log, "n3").Reason);
    }

    [Fact]
    public async Task A_thousand_imported_patrons_meet_every_rule_and_nobody_is_doubled()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, new SandboxOptions { Students = 1200, Schools = 4 });
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        var sites = system
            .Sandbox.District.Schools.Select((s, i) => (s.SourcedId, Code: $"S{i + 1}"))
            .ToDictionary(s => s.SourcedId, s => s.Code, StringComparer.Ordinal);
        var people = system
            .Sandbox.District.People.Where(p =>
                p is { Group: SandboxRoleGroup.Student, Presence: SandboxPresence.Present } && p.FamilyName.Length > 0
            )
            .Where(p => sites.ContainsKey(p.Orgs[0]))
            .Take(1000)
            .ToList();
        var csv = new System.Text.StringBuilder("barcode,communityId,firstName,lastName,email,site\n");
        for (var i = 0; i < people.Count; i++)
        {
            var p = people[i];
            var number = i % 3 == 0 ? p.Identifier : "";
            var email = i % 3 == 1 ? p.Email : "";
            csv.AppendLine(
                System.Globalization.CultureInfo.InvariantCulture,
                $"LIB-{i:0000},{number},\"{p.GivenName}\",\"{p.FamilyName}\",{email},{sites[p.Orgs[0]]}"
            );
        }

        await system.ImportAsync(csv.ToString());
        var operation = await system.SyncAsync();

        // Those without any key would be created beside patrons of the same name: that is what the threshold for creates holds.
        Assert.Equal(OperationStatus.NeedsApproval, operation.Status);
        var counts = OperationQueue.CountsOf(operation);
        Assert.True(counts.AddUp, counts.ToString());
        Assert.InRange(counts.LinkedStudentNumber, 250, 334);
        Assert.InRange(counts.LinkedEmail, 150, 334);
        Assert.True(counts.Held >= 300, counts.ToString());
        var patrons = await system.AllPatronsAsync();
        var byBarcode = patrons.ToDictionary(p => p.Barcode, StringComparer.Ordinal);
        for (var i = 0; i < people.Count; i++)
        {
            var patron = byBarcode[$"LIB-{i:0000}"];
            Assert.True(patron.Guid is null || patron.Guid == people[i].SourcedId, $"{patron.Barcode} was linked to a stranger");
        }

        Assert.Equal(patrons.Count, patrons.Select(p => p.Guid ?? "none " + p.Id).Distinct().Count());
    }

    /// <summary>Where the library has no key of a person, the roster's rows still tell that two of them are alike.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "number")]
    [InlineData(Db.Postgres, "number")]
    [InlineData(Db.Sqlite, "barcode")]
    [InlineData(Db.Postgres, "barcode")]
    public async Task Another_record_of_somebody_linked_is_asked_about_in_every_sync(Db db, string key)
    {
        await using var system = await StartAsync(db, "");
        await system.ConfigureAsync(s =>
            s with
            {
                Map = s.Map with
                {
                    Rules = new Dictionary<int, FieldRule> { [PatronFields.CommunityId] = new FieldRule(FieldPolicy.LibraryKeeps) },
                },
            }
        );
        void Put(string id, string given, string family, string role = "student", string modified = "2026-01-01T00:00:00.000Z") =>
            system.Sandbox.Person(
                id,
                given,
                family,
                number: key == "number" ? "1001" : null,
                barcode: key == "barcode" ? "no spaces please" : null,
                role: role,
                modified: modified
            );
        Put("first", "Ann", "Alpha");
        Put("second", "Ann", "Alpha");
        var (_, counts) = await SyncAsync(system);
        Assert.Equal((1, 1), (counts.Created, counts.Review));
        var patron = Assert.Single(await system.AllPatronsAsync());

        // Numbered alike, as staff and pupils may be, or with nothing else in common: new people.
        Put("third", "Anna", "ALPHA");
        Put("teacher", "Ann", "Alpha", role: "teacher");
        Put("other", "Ben", "Beta");
        for (var i = 0; i < 2; i++)
        {
            (var log, counts) = await SyncAsync(system);
            Assert.Equal((i == 0 ? 2 : 0, 2), (counts.Created, counts.Review));
            Assert.Contains("twice in the roster", Line(log, "third").Reason, StringComparison.Ordinal);
            var queue = await system.Get<ReviewService>().ListAsync(system.District.Id);
            Assert.Equal(["second", "third"], queue.Select(r => r.Guid).Order());
            Assert.All(queue, r => Assert.Equal([patron.Barcode], r.Candidates));
        }

        var one = OperationQueue.CountsOf(await PersonTests.RunAsync(system, "second"));
        Assert.Equal((0, 1), (one.Created, one.Skipped));
        Assert.Equal(1, OperationQueue.CountsOf(await PersonTests.RunAsync(system, "first")).Unchanged);
        Assert.Equal(3, (await system.AllPatronsAsync()).Count);

        // Where the other record is not read beside it, a whole roster decides, and soon.
        Put("fourth", "Ann", "Alpha", modified: "2099-01-01T00:00:00.000Z");
        Put("fifth", "Eve", "Alpha", modified: "2099-01-01T00:00:00.000Z");
        var changes = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, null), (changes.Kind, changes.Error));
        var some = OperationQueue.CountsOf(changes);
        Assert.Equal((2, 1, 1), (some.Read, some.Created, some.Skipped));
        Assert.Contains("the next full sync decides", Line(await system.LogAsync(changes.Id), "fourth").Reason, StringComparison.Ordinal);
        var alone = await PersonTests.RunAsync(system, "fourth");
        Assert.Equal((0, 1), (OperationQueue.CountsOf(alone).Created, OperationQueue.CountsOf(alone).Skipped));
        Assert.Equal(4, (await system.AllPatronsAsync()).Count);
        var next = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal(OperationKind.FullSync, next.Kind);
        Assert.Equal((0, 3), (OperationQueue.CountsOf(next).Created, OperationQueue.CountsOf(next).Review));

        // Who was decided to be somebody else is.
        var item = (await system.Get<ReviewService>().ListAsync(system.District.Id)).Single(r => r.Guid == "third");
        await system.Get<ReviewDecisions>().CreateAsync(system.District.Id, item.Id, "librarian");
        await SyncAsync(system);
        Assert.Equal(5, (await system.AllPatronsAsync()).Count);
    }
}
