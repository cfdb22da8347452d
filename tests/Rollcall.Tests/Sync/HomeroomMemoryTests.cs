using CsCheck;
using Rollcall.OneRoster.Model;
using Rollcall.Sync;
using Rollcall.Sync.Pull;

namespace Rollcall.Tests.Sync;

/// <summary>What is remembered of homerooms, and made another by what changed, is what a whole read would tell.</summary>
public sealed class HomeroomMemoryTests
{
    private static readonly DateOnly s_today = new(2026, 11, 26);
    private static readonly string[] s_people = [.. Enumerable.Range(0, 6).Select(i => $"p{i}")];
    private static readonly Keys s_keys = new(7);

    private static readonly Gen<RosterRecord> s_class = Gen.Select(
        Gen.Int[0, 5],
        Gen.OneOf("homeroom", "homeroom", "Homeroom ", "scheduled"),
        Gen.Int[0, 5],
        Gen.OneOf<string[]?>(null, [], ["now"], ["then"], ["then", "now"]),
        Gen.OneOf<string?>(null, "A", "é\0"),
        RosterRecord (id, type, dead, terms, title) =>
            new Class
            {
                SourcedId = $"c{id}",
                ClassType = type,
                Status = dead == 0 ? RecordStatus.ToBeDeleted : RecordStatus.Active,
                Terms = terms,
                Title = title,
            }
    );

    private static readonly Gen<RosterRecord> s_enrollment = Gen.Select(
        Gen.Int[0, 11],
        Gen.Int[0, 6],
        Gen.OneOf(s_people),
        Gen.OneOf("student", "student", "teacher", "Teacher", "proctor", null),
        Gen.Int[-2, 2],
        Gen.Int[0, 9],
        RosterRecord (id, at, user, role, day, kind) =>
            new Enrollment
            {
                SourcedId = $"e{id}",
                Class = kind == 0 ? null : $"c{at}",
                User = kind == 0 ? null : user,
                Role = kind == 0 ? null : role,
                Status = kind < 2 ? RecordStatus.ToBeDeleted : RecordStatus.Active,
                Begin = kind == 2 ? s_today.AddDays(day) : null,
                End = kind == 3 ? s_today.AddDays(day) : null,
                Primary = kind > 5,
            }
    );

    private static readonly Gen<RosterRecord[]> s_rows = Gen.Frequency((1, s_class), (3, s_enrollment)).Array[0, 12];

    [Fact]
    public void Changes_make_of_what_is_known_what_a_whole_read_tells() =>
        Gen.Select(Gen.Frequency((1, s_class), (2, s_enrollment)).Array[0, 40], s_rows.Array[1, 5])
            .Sample(
                (first, days) =>
                {
                    var world = new Dictionary<string, RosterRecord>(StringComparer.Ordinal);
                    Put(world, first);
                    List<byte[]> parts = [.. WholeRead(world).Parts];
                    foreach (var day in days)
                    {
                        var changed = new Dictionary<string, RosterRecord>(StringComparer.Ordinal);
                        Put(changed, day);
                        Put(world, day);
                        var memory = new HomeroomMemory(s_keys);
                        Assert.All(parts, part => Assert.True(memory.Replay(part)));
                        var log = memory.Apply([.. changed.Values.OfType<Class>()], [.. changed.Values.OfType<Enrollment>()], [], []);
                        var (whole, fresh) = WholeRead(world);
                        if (memory.Incomplete)
                        {
                            parts = [.. fresh];
                            continue;
                        }

                        var now = Intake(null);
                        memory.Feed(now);
                        Assert.Equal(Picture(whole), Picture(now));
                        parts.AddRange(log.TakePart() is { } part ? [part] : []);
                    }
                },
                iter: 3000
            );

    /// <summary>Where rows shift, a membership can come again within one read, as none any more.</summary>
    [Fact]
    public void What_a_later_row_of_the_same_read_ended_is_not_remembered()
    {
        var log = new HomeroomLog(s_keys);
        log.Reset();
        var intake = Intake(log);
        intake.Class(Room("c1"));
        intake.Class(new Class { SourcedId = "c2", ClassType = "scheduled" });
        intake.ClearEnrollments();
        intake.Enrollment(Seat("e1", "p1", "c1"));
        intake.Enrollment(Seat("e2", "p2", "c1"));
        intake.Enrollment(Seat("e3", "p3", "c1"));
        intake.Enrollment(Seat("e4", "p4", "c1") with { Begin = s_today.AddDays(1) });
        intake.Enrollment(Seat("e1", "p1", "c1") with { Status = RecordStatus.ToBeDeleted });
        intake.Enrollment(Seat("e2", "p2", "c2"));
        intake.Enrollment(new Enrollment { SourcedId = "e4", Status = RecordStatus.ToBeDeleted });
        var memory = new HomeroomMemory(s_keys);
        Assert.True(memory.Replay(log.TakePart()!));
        var tomorrow = new HomeroomIntake(s_today.AddDays(1), s_keys);
        memory.Feed(tomorrow);
        Assert.Equal(Picture(intake), Picture(tomorrow));
        Assert.Contains("p3", Picture(tomorrow), StringComparison.Ordinal);
    }

    [Fact]
    public void Changes_name_whoever_they_move()
    {
        var world = new Dictionary<string, RosterRecord>(StringComparer.Ordinal);
        Put(world, Room("c1"), Room("c2"), Seat("e1", "p1", "c1"), Seat("e2", "p2", "c1"), Seat("e3", "p3", "c1", "teacher"));
        List<byte[]> parts = [.. WholeRead(world).Parts];
        Assert.Equal("p1 | ", Applied(new Enrollment { SourcedId = "e1", Status = RecordStatus.ToBeDeleted }));
        Assert.Equal("p1 | ", Applied(Seat("e1", "p1", "c2")));
        Assert.Equal("p4 | ", Applied(Seat("e4", "p4", "c1")));
        Assert.Equal(" | c1", Applied(new Enrollment { SourcedId = "e3", Status = RecordStatus.ToBeDeleted }));
        Assert.Equal(" | c1 c2", Applied(Seat("e3", "p3", "c2", "teacher")));
        Assert.Equal(" | c1", Applied(new Class { SourcedId = "c1", Status = RecordStatus.ToBeDeleted }));
        Assert.Equal(" | ", Applied(new Class { SourcedId = "c9", ClassType = "scheduled" }));

        string Applied(RosterRecord row)
        {
            var memory = new HomeroomMemory(s_keys);
            Assert.All(parts, part => Assert.True(memory.Replay(part)));
            HashSet<(ulong, uint)> members = [];
            HashSet<string> classes = [];
            memory.Apply([.. new[] { row }.OfType<Class>()], [.. new[] { row }.OfType<Enrollment>()], members, classes);
            Assert.False(memory.Incomplete);
            var people = s_people.Where(p => members.Contains((s_keys.Of(p), s_keys.Check(p))));
            return $"{string.Join(' ', people)} | {string.Join(' ', classes.Order(StringComparer.Ordinal))}";
        }
    }

    [Fact]
    public void A_class_of_which_nothing_is_known_or_that_became_a_homeroom_asks_for_a_whole_read()
    {
        var world = new Dictionary<string, RosterRecord>(StringComparer.Ordinal);
        Put(world, Room("c1"), new Class { SourcedId = "c2", ClassType = "scheduled" });
        List<byte[]> parts = [.. WholeRead(world).Parts];
        Assert.False(Incomplete(Seat("e1", "p1", "c1")));
        Assert.False(Incomplete(Seat("e1", "p1", "c2")));
        Assert.False(Incomplete(Room("c3"), Seat("e1", "p1", "c3")));
        Assert.True(Incomplete(Seat("e1", "p1", "c3")));
        Assert.True(Incomplete(Room("c2")));

        bool Incomplete(params RosterRecord[] rows)
        {
            var memory = new HomeroomMemory(s_keys);
            Assert.All(parts, part => Assert.True(memory.Replay(part)));
            memory.Apply([.. rows.OfType<Class>()], [.. rows.OfType<Enrollment>()], [], []);
            return memory.Incomplete;
        }
    }

    [Fact]
    public void What_other_keys_or_another_version_wrote_and_what_lacks_its_beginning_is_not_gone_on_from()
    {
        var world = new Dictionary<string, RosterRecord>(StringComparer.Ordinal);
        Put(world, Room("c1"), Seat("e1", "p1", "c1"));
        var parts = WholeRead(world).Parts.ToList();
        Assert.Equal(2, parts.Count);
        Assert.False(new HomeroomMemory(s_keys).Replay(parts[1]));
        Assert.False(new HomeroomMemory(new Keys(8)).Replay(parts[0]));
        Assert.False(new HomeroomMemory(s_keys).Replay([]));
        parts[0][0]++;
        Assert.False(new HomeroomMemory(s_keys).Replay(parts[0]));
    }

    private static Class Room(string id) => new() { SourcedId = id, ClassType = "homeroom" };

    private static Enrollment Seat(string id, string user, string at, string role = "student") =>
        new()
        {
            SourcedId = id,
            User = user,
            Class = at,
            Role = role,
        };

    private static void Put(Dictionary<string, RosterRecord> world, params IEnumerable<RosterRecord> rows)
    {
        foreach (var row in rows)
        {
            world[row.SourcedId!] = row;
        }
    }

    private static HomeroomIntake Intake(HomeroomLog? log)
    {
        var intake = new HomeroomIntake(s_today, s_keys, log) { SessionsShared = true };
        intake.Session(
            new AcademicSession
            {
                SourcedId = "now",
                Start = s_today.AddDays(-9),
                End = s_today.AddDays(9),
            }
        );
        intake.Session(
            new AcademicSession
            {
                SourcedId = "then",
                Start = s_today.AddDays(-9),
                End = s_today.AddDays(-1),
            }
        );
        return intake;
    }

    // Classes in one part, enrollments in another; both are begun once too often, as when rows moved between pages.
    private static (HomeroomIntake Intake, IEnumerable<byte[]> Parts) WholeRead(Dictionary<string, RosterRecord> world)
    {
        var log = new HomeroomLog(s_keys);
        var intake = Intake(log);
        List<byte[]> parts = [];
        for (var attempt = 0; attempt < 2; attempt++)
        {
            intake.ClearClasses();
            foreach (var row in world.Values.OfType<Class>())
            {
                intake.Class(row);
            }
        }

        parts.Add(log.TakePart()!);
        for (var attempt = 0; attempt < 2; attempt++)
        {
            foreach (var row in world.Values.OfType<Enrollment>())
            {
                if (attempt == 1 || row.SourcedId != "e1")
                {
                    intake.Enrollment(row);
                }
            }

            if (attempt == 0)
            {
                intake.ClearEnrollments();
            }
        }

        parts.AddRange(log.TakePart() is { } part ? [part] : []);
        return (intake, parts);
    }

    private static string Picture(HomeroomIntake intake)
    {
        var index = intake.Build();
        return string.Join(
            '\n',
            s_people.Select(p =>
                $"{p}: "
                + string.Join(
                    "; ",
                    index
                        .ClassesOf(s_keys.Of(p), s_keys.Check(p))
                        .OrderBy(c => c.Id, StringComparer.Ordinal)
                        .Select(c => $"{c.Id} {c.Title} {c.TeacherId} {c.TeacherPrimary}")
                )
            )
        );
    }
}
