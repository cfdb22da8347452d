using System.Collections;
using Rollcall.Sandbox.District;

namespace Rollcall.Sandbox.Serving;

/// <summary>
/// Every enrollment of a district, several times as many as people. They follow from who people are, so only where those of every sixteenth
/// person begin is held.
/// </summary>
internal sealed class Enrollments : IReadOnlyList<Row>
{
    private const int Step = 16;
    private readonly World _world;
    private readonly List<int> _begins = [];

    public Enrollments(World world)
    {
        _world = world;
        var seats = new List<(Klass Class, RowKind Kind)>();
        for (var i = 0; i < world.Persons.Count; i++)
        {
            if (i % Step == 0)
            {
                _begins.Add(Count);
            }

            Of(new Person(world, i + 1), seats);
            Count += seats.Count;
        }

        _begins.TrimExcess();
    }

    public int Count { get; }

    public Row this[int index] => From(index).First();

    public IEnumerator<Row> GetEnumerator() => From(0).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>The rows from a place on.</summary>
    public IEnumerable<Row> From(int start)
    {
        // The last that begins there or before: those of several may begin at one place, where nobody has any.
        var (low, high) = (0, _begins.Count - 1);
        while (low < high)
        {
            var middle = (low + high + 1) / 2;
            (low, high) = _begins[middle] <= start ? (middle, high) : (low, middle - 1);
        }

        var skip = start - _begins[low];
        var seats = new List<(Klass Class, RowKind Kind)>();
        for (var i = low * Step; i < _world.Persons.Count; i++)
        {
            var person = new Person(_world, i + 1);
            Of(person, seats);
            for (var k = skip; k < seats.Count; k++)
            {
                yield return new Row(person, seats[k].Class, seats[k].Kind);
            }

            skip = Math.Max(0, skip - seats.Count);
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
        else if (person.Role == Role.Teacher)
        {
            foreach (var klass in _world.Taught(person))
            {
                seats.Add((klass, klass.Teacher == person ? RowKind.Teacher : RowKind.SecondTeacher));
            }
        }

        seats.Sort(static (a, b) => a.Class.Number.CompareTo(b.Class.Number));
    }

    private void Sit(Person student, List<(Klass Class, RowKind Kind)> seats)
    {
        Add(student.Room, RowKind.Seat);
        Add(student.SecondRoom, RowKind.Seat);
        Add(student.LastYearRoom, RowKind.Seat);
        if (_world.Day - student.RoomSince < 5)
        {
            Add(student.FormerRoom, RowKind.FormerSeat);
        }

        foreach (var klass in _world.ScheduledClasses(student))
        {
            seats.Add((klass, RowKind.Seat));
        }

        void Add(Klass? klass, RowKind kind)
        {
            if (klass is { } one && !seats.Exists(seat => seat.Class == one))
            {
                seats.Add((one, kind));
            }
        }
    }
}
