using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster.Model;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Sync;
using Rollcall.Sync.Plan;
using Rollcall.Sync.Pull;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>The planner holds keys of texts in place of texts. Two people may share one; nobody may be taken for another because of it.</summary>
public sealed class SharedKeysTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Nobody_is_taken_for_another_who_shares_his_keys(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 300, Schools = 2 });
        await system.ConfigureAsync(s => s with { Map = s.Map with { CommunityId = new(IdSource.Identifier) } });
        var handler = system.Get<IEnumerable<IOperationHandler>>().OfType<SyncHandler>().Single();

        // So narrow that many of some hundred people share a key.
        handler.MakeKeys = () => new Keys(seed: 1, bits: 11);
        var first = OperationQueue.CountsOf(await SyncAsync(system));
        Assert.True(first.AddUp, first.ToString());
        await AssertEverybodyIsHimselfAsync(system);

        // Everybody is known now, and looked up by shared keys: those who are not confirmed are left out and not changed.
        system.Sandbox.SetDay(1);
        handler.MakeKeys = () => new Keys(seed: 2, bits: 11);
        var second = await SyncAsync(system);
        Assert.True(OperationQueue.CountsOf(second).AddUp);
        Assert.Contains(
            await system.LogAsync(second.Id),
            r => r.Reason?.Contains("changed while the sync ran", StringComparison.Ordinal) == true
        );
        await AssertEverybodyIsHimselfAsync(system);

        // With the usual keys the next run brings all of them to where they belong.
        handler.MakeKeys = null;
        var third = OperationQueue.CountsOf(await SyncAsync(system));
        Assert.True(third.AddUp, third.ToString());
        var fourth = OperationQueue.CountsOf(await SyncAsync(system));
        Assert.Equal((0, 0, 0, 0), (fourth.Created, fourth.Updated, fourth.Transferred, fourth.Reactivated));
        await AssertEverybodyIsHimselfAsync(system);
    }

    [Fact]
    public void A_key_and_its_check_tell_texts_apart()
    {
        var keys = new Keys(seed: 7, bits: 8);
        var texts = Enumerable.Range(0, 2000).Select(i => $"person-{i}").ToList();
        Assert.True(texts.Select(keys.Of).Distinct().Count() <= 256);
        Assert.Equal(texts.Count, texts.Select(t => (keys.Of(t), keys.Check(t))).Distinct().Count());
        Assert.DoesNotContain(0ul, texts.Select(keys.Of));
        Assert.Equal((0ul, 0u), (keys.Of(null), keys.Check("")));
        Assert.NotEqual(new Keys(1).Of("a"), new Keys(2).Of("a"));
    }

    /// <summary>An address or a number that stands for none may be everybody's: whoever has it is not compared with all the others.</summary>
    [Theory]
    [InlineData("known")]
    [InlineData("known, other numbers")]
    [InlineData("new by number")]
    [InlineData("new by number, address elsewhere")]
    [InlineData("new by address")]
    [InlineData("new by address, of one name")]
    [InlineData("new, address of linked ones")]
    public void A_key_that_everybody_has_costs_a_few_steps_each(string who)
    {
        const int Many = 4000;
        var keys = new Keys(seed: 7);
        var isNew = who.StartsWith("new", StringComparison.Ordinal);
        bool Is(string what) => who.Contains(what, StringComparison.Ordinal);
        string Name(int i) => Is("one name") ? "Smith" : $"Name {i % 200}";
        var patrons = Enumerable
            .Range(0, Many)
            .Select(i =>
                (
                    new Patron
                    {
                        Id = i + 1,
                        Guid =
                            !isNew ? $"p{i}"
                            : Is("linked ones") ? $"other{i}"
                            : null,
                        BarcodeKey = $"card-{i}",
                        CommunityId = Is("other numbers") || Is("elsewhere") ? $"1{i:0000}" : "0",
                        EmailKey = Is("elsewhere") && i % 2 == 0 ? null : "none@school.example",
                        LastName = Name(i),
                        FirstName = $"First {i}",
                    },
                    !isNew || Is("linked ones") ? new PatronLink { PatronId = i + 1, RoleGroup = RoleGroup.Student } : null
                )
            );
        var setup = new SyncSetup
        {
            District = new District(),
            Kind = IntegrationKind.ClassLink,
            Settings = new IntegrationSettings
            {
                Roles = [RoleGroup.Student],
                Map = new FieldMap { CommunityId = new(IdSource.Identifier) },
            },
            State = new IntegrationState(),
            Enabled = true,
            Sites = new Dictionary<int, Site>(),
            SiteDefaults = [],
            OrgSites = new Dictionary<string, int>(StringComparer.Ordinal),
            Today = new DateOnly(2026, 10, 1),
            Keys = keys,
        };
        var (people, guardians) = (new Spool(Path.GetTempPath(), "people"), new Spool(Path.GetTempPath(), "guardians"));
        var intake = new UserIntake(setup, people, guardians, homerooms: null);
        for (var i = 0; i < Many; i++)
        {
            intake.Take(
                new User
                {
                    SourcedId = $"p{i}",
                    Roles = [new UserRole("student", "o", true, null, null)],
                    FamilyName = Name(i),
                    GivenName = $"First {i}",
                    Email = "none@school.example",
                    Identifier =
                        Is("address") && !Is("elsewhere") ? null
                        : Is("elsewhere") ? $"1{i:0000}"
                        : "0",
                }
            );
        }

        using var roster = new Roster(keys, intake, people, guardians)
        {
            Orgs = new Dictionary<string, OneRoster.Model.Org>(StringComparer.Ordinal),
            Demographics = null,
            Homerooms = null,
            AbsenceUsable = false,
            Revision = null,
        };
        var matches = Matcher.Run(
            PatronIndex.Of(keys, patrons),
            roster,
            setup,
            new Dictionary<(ulong, uint), ReviewStatus>(),
            new HashSet<long>()
        );
        Assert.InRange(matches.Steps, Many, 70 * Many);
        Assert.InRange(matches.Candidates.Values.Sum(c => (long)c.Length), 0, 50 * Many);
        var decided = Enumerable.Range(0, Many).CountBy(i => (matches[i].Decision, matches[i].Key)).ToDictionary();
        Assert.Equal(
            who switch
            {
                "known" or "known, other numbers" => new() { [(Decision.Match, MatchKey.Guid)] = Many },
                "new by number" or "new, address of linked ones" => new() { [(Decision.Review, MatchKey.None)] = Many },
                "new by number, address elsewhere" => new() { [(Decision.Match, MatchKey.StudentNumber)] = Many },
                _ => new Dictionary<(Decision, MatchKey), int> { [(Decision.Match, MatchKey.Email)] = Many },
            },
            decided
        );
    }

    private static async Task<Operation> SyncAsync(Installation system)
    {
        var operation = await system.SyncAsync();
        if (operation.Status == OperationStatus.NeedsApproval)
        {
            operation = await system.ApproveAsync(operation.Id);
        }

        Assert.Null(operation.Error);
        return operation;
    }

    /// <summary>Every linked patron has the names that the roster gives the person of his GUID, today or on the day before.</summary>
    private static async Task AssertEverybodyIsHimselfAsync(Installation system)
    {
        var now = SandboxDistrict
            .At(system.Sandbox.Options, system.Sandbox.District.Day)
            .People.ToDictionary(p => p.SourcedId, StringComparer.Ordinal);
        var before = SandboxDistrict.At(system.Sandbox.Options, 0).People.ToDictionary(p => p.SourcedId, StringComparer.Ordinal);
        var patrons = await system.AllPatronsAsync();
        Assert.NotEmpty(patrons);
        foreach (var patron in patrons)
        {
            Assert.NotNull(patron.Guid);
            string?[] names =
            [
                now.TryGetValue(patron.Guid, out var today) ? Text.Clean(today.FamilyName) : null,
                before.TryGetValue(patron.Guid, out var then) ? Text.Clean(then.FamilyName) : null,
            ];
            Assert.Contains(patron.LastName, names);
        }

        Assert.Equal(patrons.Count, patrons.Select(p => p.Guid).Distinct().Count());
    }
}
