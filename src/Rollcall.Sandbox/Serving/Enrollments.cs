using System.Collections;
using Rollcall.Sandbox.District;

namespace Rollcall.Sandbox.Serving;

/// <summary>
/// Every enrollment of a district, several times as many as people. They follow from who people are, so only where each person's begin is held.
/// </summary>
internal sealed class Enrollments : IReadOnlyList<Row>
{
    private readonly World _world;
    private readonly Dictionary<Person, List<Klass>> _taught = [];

    /// <summary>Places in the world's people, of those who have any; and the place at which theirs begin.</summary>
    private readonly List<int> _people = [];
    private readonly List<int> _begins = [];

    public Enrollments(World world)
    {
        _world = world;
        foreach (var klass in world.Classes)
        {
            Teach(klass.Teacher, klass);
            Teach(klass.SecondTeacher, klass);
        }

        var seats = new List<(Klass Class, RowKind Kind)>();
        for (var i = 0; i < world.People.Count; i++)
        {
            Of(world.People[i], seats);
            if (seats.Count > 0)
            {
                _people.Add(i);
                _begins.Add(Count);
                Count += seats.Count;
            }
        }

        _people.TrimExcess();
        _begins.TrimExcess();
    }

    public int Count { get; }

    public Row this[int index] => From(index).First();

    public IEnumerator<Row> GetEnumerator() => From(0).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>The rows from a place on.</summary>
    public IEnumerable<Row> From(int start)
    {
        if (start >= Count)
        {
            yield break;
        }

        var at = _begins.BinarySearch(start);
        at = at < 0 ? ~at - 1 : at;
        var seats = new List<(Klass Class, RowKind Kind)>();
        for (; at < _people.Count; at++)
        {
            var person = _world.People[_people[at]];
            Of(person, seats);
            for (var i = Math.Max(0, start - _begins[at]); i < seats.Count; i++)
            {
                yield return new Row(person, seats[i].Class, seats[i].Kind);
            }
        }
    }

    private void Of(Person person, List<(Klass Class, RowKind Kind)> seats)
    {
        seats.Clear();
        if (person.Presence != SandboxPresence.Present)
        {
            return;
        }

        if (person.Role == Role.Student)
        {
            Sit(person, seats);
        }
        else if (_taught.TryGetValue(person, out var classes))
        {
            foreach (var klass in classes)
            {
                seats.Add((klass, klass.Teacher == person ? RowKind.Teacher : RowKind.SecondTeacher));
            }
        }

        seats.Sort(static (a, b) => a.Class.Number.CompareTo(b.Class.Number));
    }

    private void Sit(Person student, List<(Klass Class, RowKind Kind)> seats)
    {
        var rooms = student.Rooms!;
        Add(rooms.Current, RowKind.Seat);
        Add(rooms.Second, RowKind.Seat);
        Add(rooms.LastYear, RowKind.Seat);
        if (_world.Day - rooms.Since < 5)
        {
            Add(rooms.Former, RowKind.FormerSeat);
        }

        foreach (var klass in _world.ScheduledClasses(student))
        {
            seats.Add((klass, RowKind.Seat));
        }

        void Add(Klass? klass, RowKind kind)
        {
            if (klass is not null && !seats.Exists(seat => seat.Class == klass))
            {
                seats.Add((klass, kind));
            }
        }
    }

    private void Teach(Person? teacher, Klass klass)
    {
        if (teacher is not null)
        {
            if (!_taught.TryGetValue(teacher, out var classes))
            {
                _taught.Add(teacher, classes = []);
            }

            classes.Add(klass);
        }
    }
}
