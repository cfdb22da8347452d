using System.Text.RegularExpressions;
using Rollcall.Operations;
using Rollcall.Sandbox;
using Rollcall.Sync.Person;
using Rollcall.Tests.Infrastructure;
using Rollcall.Tests.Sync;

namespace Rollcall.Tests.Operations;

/// <summary>Whoever adds up what a sync says comes to the people it read, whatever waits and whoever has left.</summary>
public sealed partial class TotalsTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(
        """{"read":16,"unchanged":16,"transferred":14,"absent":14,"held":14,"heldTransferred":14,"heldAbsent":14}""",
        "16 people read: 16 unchanged, 14 held (to be transferred, no longer in the roster)."
    )]
    [InlineData(
        """{"read":20,"created":3,"unchanged":13,"transferred":18,"absent":14,"held":13,"heldCreated":2,"heldTransferred":11,"heldAbsent":9}""",
        "20 people read: 1 created, 13 unchanged, 7 transferred (5 of them no longer in the roster), 13 held (2 to be created; 11 to be transferred, 9 of them no longer in the roster)."
    )]
    [InlineData(
        """{"read":20,"updated":12,"unchanged":8,"held":12,"heldUpdated":12}""",
        "20 people read: 8 unchanged, 12 held (to be updated)."
    )]
    [InlineData(
        """{"read":3,"transferred":3,"unchanged":1,"absent":1}""",
        "3 people read: 1 unchanged, 3 transferred (1 of them no longer in the roster)."
    )]
    // One of those who were held came back since, and one who was to be created is somebody else by now.
    [InlineData(
        """{"read":12,"created":12,"transferred":14,"absent":14,"held":24,"heldCreated":12,"heldTransferred":14,"heldAbsent":14,"heldCreatedLeftOut":1,"heldTransferredLeftOut":1,"heldAbsentLeftOut":1}""",
        "12 people read: 1 skipped, 24 held (11 to be created; 13 to be transferred, no longer in the roster)."
    )]
    // Of an earlier version.
    [InlineData(
        """{"read":12,"created":12,"transferred":14,"absent":14,"held":24,"heldCreated":12,"heldTransferred":14,"heldAbsent":14,"heldAbsentLeftOut":1}""",
        "12 people read: 1 skipped, 24 held (13 of them no longer in the roster)."
    )]
    [InlineData("""{"read":1,"held":1}""", "1 person read: 1 held.")]
    public void A_sentence_says_who_waits_and_who_was_not_read(string counts, string expected)
    {
        var operation = new Operation
        {
            Kind = OperationKind.FullSync,
            Status = OperationStatus.NeedsApproval,
            Counts = counts,
        };
        Assert.Equal(expected, Totals.Sentence(operation));
        AssertAddsUp(expected);

        // Pages have the same in boxes, and say beside them what boxes cannot.
        Assert.All(
            Totals.Of(operation).Where(t => t.Count > 0),
            t => Assert.Contains($"{t.Count} {(t.Label == "Read" ? "" : t.Label.ToLowerInvariant())}", expected, StringComparison.Ordinal)
        );
        Assert.Equal(
            expected.Contains("no longer", StringComparison.Ordinal),
            Totals.Footnote(operation)?.Contains("is not among those who were read", StringComparison.Ordinal) == true
        );
    }

    [Fact]
    public void What_is_no_sync_is_told_in_its_own_words()
    {
        Assert.Equal("3 changes read: 2 taken back, 1 removed.", Of(OperationKind.Undo, """{"read":3,"updated":2,"removed":1}"""));
        Assert.Equal("2 rows read, the plan: 2 created.", Of(OperationKind.Import, """{"read":2,"created":2}""", OperationStatus.Preview));
        Assert.Equal("1 patron exported.", Of(OperationKind.Export, """{"read":1,"unchanged":1}"""));
        Assert.Equal("2 patrons read: 2 removed.", Of(OperationKind.Remove, """{"read":2,"removed":2}"""));
        Assert.Equal("0 people read.", Of(OperationKind.FullSync, "{}"));

        static string Of(OperationKind kind, string counts, OperationStatus status = OperationStatus.Completed) =>
            Totals.Sentence(
                new Operation
                {
                    Kind = kind,
                    Counts = counts,
                    Status = status,
                }
            );
    }

    /// <summary>The same from a sync on: held, lessened, approved; and what is written beside it.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_hold_adds_up_until_it_is_decided(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 20, Schools = 2 });
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 30; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await system.SyncAsync();

        // Two are deleted, twelve are gone; one is new, one has another name.
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 12).Select(i => $"p{i:00}").ToArray());
        system.Sandbox.Person("p13", "Pat", "Person13", status: "tobedeleted");
        system.Sandbox.Person("p14", "Pat", "Person14", status: "tobedeleted");
        system.Sandbox.Person("p15", "Pat", "Other");
        system.Sandbox.Person("new", "Nel", "New");
        var preview = await system.SyncAsync(preview: true);
        Assert.Equal(
            "19 people read, the plan: 1 created, 1 updated, 15 unchanged, 14 held (to be transferred, 12 of them no longer in the roster).",
            Totals.Sentence(preview)
        );
        var held = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        Assert.Equal(
            "19 people read: 1 created, 1 updated, 15 unchanged, 14 held (to be transferred, 12 of them no longer in the roster).",
            Totals.Sentence(held)
        );
        AssertAddsUp(Totals.Sentence(held));

        // One who was gone is seen again, and one who was deleted: both wait no longer.
        system.Sandbox.Overrides.Restore("users", ["p01"]);
        system.Sandbox.Person("p01", "Pat", "Person01");
        system.Sandbox.Person("p13", "Pat", "Person13");
        await PersonTests.RunAsync(system, "p01");
        await PersonTests.RunAsync(system, "p13");
        held = await system.Queue.GetAsync(system.District.Id, held.Id);
        Assert.Equal(
            "19 people read: 1 created, 1 updated, 15 unchanged, 1 skipped, 12 held (to be transferred, 11 of them no longer in the roster).",
            Totals.Sentence(held)
        );
        AssertAddsUp(Totals.Sentence(held));
        var approved = await system.ApproveAsync(held.Id);
        Assert.Equal(
            "19 people read: 1 created, 1 updated, 15 unchanged, 12 transferred (11 of them no longer in the roster), 1 skipped.",
            Totals.Sentence(approved)
        );
        AssertAddsUp(Totals.Sentence(approved));
    }

    private static void AssertAddsUp(string sentence)
    {
        var read = int.Parse(Read().Match(sentence).Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture);
        var sum = 0;
        foreach (Match part in Part().Matches(sentence[sentence.IndexOf("read", StringComparison.Ordinal)..]))
        {
            var count = Number(part.Groups[1]);
            var aside = part.Groups[3].Value;
            var gone = Gone().Match(aside) is { Success: true } some
                ? some.Groups[3].Success
                    ? Number(some.Groups[3])
                    : some.Groups[1].Success
                        ? Number(some.Groups[1])
                        : count
                : 0;
            sum += count - gone;
        }

        Assert.Equal(read, sum);

        static int Number(Group group) => int.Parse(group.Value, System.Globalization.CultureInfo.InvariantCulture);
    }

    [GeneratedRegex(@"^(\d+) \w+ read")]
    private static partial Regex Read();

    // A number, what became of so many, and what is said of them.
    [GeneratedRegex(@"(\d+) (created|updated|unchanged|transferred|reactivated|skipped|for Review|held)(?: \(([^)]*)\))?")]
    private static partial Regex Part();

    // How many of a kind, and how many of them.
    [GeneratedRegex(@"(?:(\d+) to be (transferred), )?(?:(\d+) of them )?no longer in the roster")]
    private static partial Regex Gone();
}
