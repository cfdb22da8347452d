using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Patrons;

/// <summary>Two patrons may have one Student #, but nobody gives it to the second without being told.</summary>
public sealed class SharedNumberTests(PostgresCluster cluster)
{
    private const string Words = "Student # 1001 is another patron's, too.";

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_student_number_that_another_patron_has_is_written_and_said(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 20, Schools = 2 });
        var (district, patrons) = (system.District.Id, system.Patrons);
        var first = await patrons.AddAsync(district, [new("lastName", "Byron"), new("site", "S1"), new("communityId", "1001")], "test");
        Assert.Null(await patrons.DoubtAsync(first, null));
        var second = await patrons.AddAsync(district, [new("lastName", "King"), new("site", "S1"), new("communityId", "1001")], "test");
        Assert.StartsWith(Words, await patrons.DoubtAsync(second, null), StringComparison.Ordinal);

        // What stays as it was is no news.
        var edited = await patrons.EditAsync(district, second.Barcode, [new("phone", "1")], "test");
        Assert.Null(await patrons.DoubtAsync(edited, second));
        var alone = await patrons.EditAsync(district, second.Barcode, [new("communityId", "1002")], "test");
        Assert.Null(await patrons.DoubtAsync(alone, edited));
        var none = await patrons.EditAsync(district, second.Barcode, [new("communityId", "")], "test");
        Assert.Null(await patrons.DoubtAsync(none, alone));
        var again = await patrons.EditAsync(district, second.Barcode, [new("communityId", " 1001 ")], "test");
        Assert.StartsWith(Words, await patrons.DoubtAsync(again, none), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_decision_in_Review_says_what_it_did_to_number_and_card(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 20, Schools = 2 });
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s =>
            s with
            {
                Map = new FieldMap
                {
                    CommunityId = new IdMapping(IdSource.Identifier),
                    Barcode = new IdMapping(IdSource.UserIdType, "Card"),
                },
            }
        );
        foreach (
            var (card, last, number) in ((string, string, string)[])
                [("OLD-1", "Byron", "1001"), ("OLD-2", "Byron", "1001"), ("OLD-3", "Carver", "")]
        )
        {
            await system.Patrons.AddAsync(
                system.District.Id,
                [new("barcode", card), new("lastName", last), new("site", "S1"), new("communityId", number)],
                "test"
            );
        }

        system.Sandbox.Person("p1", "Ben", "Carver", number: "1001", barcode: "NEW-1");
        system.Sandbox.Person("p2", "Cleo", "Dunn", number: "1001");
        Assert.Equal(2, OperationQueue.CountsOf(await system.SyncAsync()).Review);
        var waiting = (await system.Get<ReviewService>().ListAsync(system.District.Id)).ToDictionary(
            i => i.Guid,
            i => i.Id,
            StringComparer.Ordinal
        );

        var linked = await system.Get<ReviewDecisions>().LinkAsync(system.District.Id, waiting["p1"], "OLD-3", "librarian");
        Assert.Equal("NEW-1", linked.Barcode);
        Assert.Contains(
            "The barcode is NEW-1 from now on: the card with OLD-3 is not theirs any more.",
            linked.Message,
            StringComparison.Ordinal
        );
        Assert.Contains(Words, linked.Message, StringComparison.Ordinal);

        var created = await system.Get<ReviewDecisions>().CreateAsync(system.District.Id, waiting["p2"], "librarian");
        Assert.NotNull(created.Barcode);
        Assert.DoesNotContain("from now on", created.Message, StringComparison.Ordinal);
        Assert.Contains(Words, created.Message, StringComparison.Ordinal);
    }
}
