using Rollcall.Mapping;
using Rollcall.OneRoster.Model;
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

    private static RosterPerson Person(string id) =>
        new()
        {
            Guid = s_keys.Of(id),
            Check = s_keys.Check(id),
            Group = RoleGroup.Student,
        };
}
