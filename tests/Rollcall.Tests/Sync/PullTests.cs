using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;
using Rollcall.Patrons;
using Rollcall.Sync;
using Rollcall.Sync.Pull;

namespace Rollcall.Tests.Sync;

/// <summary>Where rows shift in every attempt, a record comes again on a later page because it came with a later date: the later one
/// replaces the earlier.</summary>
public sealed class PullTests
{
    private static readonly Keys s_keys = new(7);
    private static readonly DateOnly s_today = new(2026, 10, 1);

    [Fact]
    public void Of_two_rows_of_demographics_the_later_one_counts()
    {
        var intake = new DemographicsIntake(s_keys);
        for (var i = 0; i < 400; i++)
        {
            intake.Take(Born(i % 100, i / 100));
        }

        intake.Take(Born(7, 9) with { Status = RecordStatus.ToBeDeleted });
        var index = intake.Build();
        for (var i = 0; i < 100; i++)
        {
            var person = Person($"p{i}");
            Assert.Equal(i == 7 ? null : $"2012-01-{(i % 20) + 1:00}", index.Of(person).Birthdate.Text);
            Assert.Equal(i == 7 ? 0 : new DateOnly(2012, 1, (i % 20) + 1).DayNumber, index.BirthDay(person));
        }

        static Demographics Born(int person, int attempt) =>
            new() { SourcedId = $"p{person}", BirthDate = new DateOnly(2009 + attempt, 1, (person % 20) + 1) };
    }

    [Fact]
    public void Of_two_rows_of_an_enrollment_the_later_one_counts()
    {
        var intake = new HomeroomIntake(s_today, s_keys) { SessionsShared = false };
        foreach (var id in (string[])["h1", "h2"])
        {
            intake.Class(
                new Class
                {
                    SourcedId = id,
                    ClassType = "homeroom",
                    Title = id,
                }
            );
        }

        intake.Enrollment(Row("e0", "lost", "h1"));
        intake.ClearEnrollments();
        intake.Enrollment(Row("e1", "moved", "h1"));
        intake.Enrollment(Row("e2", "left", "h1"));
        intake.Enrollment(Row("e3", "stays", "h1"));
        intake.Enrollment(Row("e4", "t1", "h1", "teacher", primary: true));
        intake.Enrollment(Row("e5", "t2", "h1", "teacher"));
        intake.Enrollment(Row("e1", "moved", "h2"));
        intake.Enrollment(Row("e2", "left", "h1") with { Status = RecordStatus.ToBeDeleted });
        intake.Enrollment(Row("e4", "t1", "h2", "teacher", primary: true));
        intake.Teacher("t1", "One, Teacher");
        intake.Teacher("t2", "Two, Teacher");
        var index = intake.Build();
        Assert.Equal(["h2"], In("moved"));
        Assert.Empty(In("left"));
        Assert.Empty(In("lost"));
        Assert.Equal(["h1"], In("stays"));
        Assert.Equal(["h2"], In("t1"));
        Assert.Equal("Two, Teacher", index.ClassesOf(s_keys.Of("stays"), s_keys.Check("stays")).Single().Teacher);
        Assert.Equal("One, Teacher", index.ClassesOf(s_keys.Of("moved"), s_keys.Check("moved")).Single().Teacher);

        IEnumerable<string> In(string person) => index.ClassesOf(s_keys.Of(person), s_keys.Check(person)).Select(c => c.Id);

        static Enrollment Row(string id, string user, string classId, string role = "student", bool primary = false) =>
            new()
            {
                SourcedId = id,
                User = user,
                Class = classId,
                Role = role,
                Primary = primary,
            };
    }

    [Fact]
    public void A_session_that_comes_again_as_past_is_past()
    {
        var intake = new HomeroomIntake(s_today, s_keys) { SessionsShared = true };
        intake.Session(new AcademicSession { SourcedId = "s", End = s_today.AddDays(1) });
        intake.Session(new AcademicSession { SourcedId = "s", End = s_today });
        intake.Class(
            new Class
            {
                SourcedId = "h",
                ClassType = "homeroom",
                Terms = ["s"],
            }
        );
        Assert.False(intake.Knows("h"));
    }

    /// <summary>What an earlier reading of one person's surroundings had, and the last one has not, is not there; that one reading was not whole is
    /// not forgotten over the next.</summary>
    [Fact]
    public async Task One_person_is_what_the_last_reading_says()
    {
        var source = new Readings();
        var pull = new PersonPull(
            new SyncSetup
            {
                District = new District(),
                Kind = IntegrationKind.ClassLink,
                Settings = new IntegrationSettings
                {
                    Roles = [RoleGroup.Student],
                    Map = new FieldMap { Location = LocationSource.TeacherName },
                },
                State = new IntegrationState(),
                Enabled = true,
                Sites = new Dictionary<int, Site>(),
                SiteDefaults = [],
                OrgSites = new Dictionary<string, int>(StringComparer.Ordinal),
                Today = s_today,
            },
            source,
            Path.GetTempPath(),
            _ => ValueTask.CompletedTask
        );
        using var roster = await pull.ReadAsync("p", ["q"], linked: null, TestContext.Current.CancellationToken);
        Assert.Equal(["p"], pull.Users.Select(u => u.SourcedId));
        Assert.Equal(["h2"], roster.Homerooms!.ClassesOf(roster.Persons[0].Guid, roster.Persons[0].Check).Select(c => c.Id));
        Assert.Equal(MappedState.NotSent, roster.Demographics!.Of(roster.Persons[0]).Birthdate.State);

        // The person was read whole, the guardians were not, and the teachers were.
        Assert.Equal(3, source.ReadsOfUsers);
        Assert.NotEmpty(roster.AskedFor);
        Assert.True(roster.GuardiansPartial);
        Assert.Null(pull.NothingFollows("p"));
    }

    /// <summary>Every collection is read twice over; what counts is the second time.</summary>
    private sealed class Readings : IRosterSource
    {
        public int ReadsOfUsers { get; private set; }

        public ICollectionWalk<Rollcall.OneRoster.Model.Org> Orgs() => new Walk<Rollcall.OneRoster.Model.Org>([], []);

        public ICollectionWalk<AcademicSession> AcademicSessions() => new Walk<AcademicSession>([], []) { NotShared = true };

        public ICollectionWalk<Class> Classes() => new Walk<Class>([Room("h1"), Room("h2")], [Room("h1"), Room("h2")]);

        public ICollectionWalk<User> Users() =>
            new Walk<User>([User("p", "student", "g"), User("q", "student")], [User("p", "student", "g"), User("t", "teacher")])
            {
                Shifted = ++ReadsOfUsers == 2,
            };

        public ICollectionWalk<Enrollment> Enrollments() =>
            new Walk<Enrollment>(
                [Seat("e1", "p", "h1"), Seat("e2", "t", "h2", "teacher")],
                [Seat("e3", "p", "h2"), Seat("e2", "t", "h2", "teacher")]
            );

        public ICollectionWalk<Demographics> Demographics() =>
            new Walk<Demographics>([new Demographics { SourcedId = "p", BirthDate = s_today }], [new Demographics { SourcedId = "t" }]);

        public Task<string?> RevisionAsync(CancellationToken cancellationToken = default) => Task.FromResult<string?>(null);

        public void Dispose() { }

        private static User User(string id, string role, params string[] agents) =>
            new()
            {
                SourcedId = id,
                Roles = [new UserRole(role, "o", true, null, null)],
                Agents = agents,
            };

        private static Class Room(string id) => new() { SourcedId = id, ClassType = "homeroom" };

        private static Enrollment Seat(string id, string user, string at, string role = "student") =>
            new()
            {
                SourcedId = id,
                User = user,
                Class = at,
                Role = role,
            };

        private sealed class Walk<T>(T[] first, T[] second) : ICollectionWalk<T>
        {
            public bool Shifted { get; init; }
            public bool NotShared { get; init; }

            public WalkResult Result => new() { RowsShifted = Shifted, NotShared = NotShared };

            public async IAsyncEnumerable<RosterPage<T>> ReadAsync(
                [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default
            )
            {
                for (var attempt = 1; attempt <= 2; attempt++)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    var records = attempt == 1 ? first : second;
                    yield return new RosterPage<T>
                    {
                        Attempt = attempt,
                        Records = records,
                        RowsSoFar = records.Length,
                    };
                }

                await Task.CompletedTask;
            }
        }
    }

    private static RosterPerson Person(string id) =>
        new()
        {
            Guid = s_keys.Of(id),
            Check = s_keys.Check(id),
            Group = RoleGroup.Student,
        };
}
