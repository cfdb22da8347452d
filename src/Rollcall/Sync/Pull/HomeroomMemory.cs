using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using Rollcall.OneRoster.Model;

namespace Rollcall.Sync.Pull;

/// <summary>The kinds of entries in a log of homerooms.</summary>
internal enum HomeroomEntry : byte
{
    /// <summary>Everything before counts no more.</summary>
    Reset,

    /// <summary>Enrollments before count no more: they are being read again.</summary>
    ResetEnrollments,

    /// <summary>A homeroom class, live or gone.</summary>
    Homeroom,

    /// <summary>A class that is no homeroom: known, so that an enrollment in it raises no question.</summary>
    OtherClass,

    /// <summary>A membership, in place of what the enrollment was before.</summary>
    Enrollment,

    /// <summary>An enrollment that is none any more.</summary>
    Gone,

    /// <summary>A teacher's name.</summary>
    Teacher,
}

/// <summary>Writes down what is read of homerooms, entry by entry, for <see cref="HomeroomMemory"/> to go on from in the next run. Members
/// are keys, 37 bytes each; only teachers, whose names have to be asked for, are texts.</summary>
internal sealed class HomeroomLog(Keys keys)
{
    public const byte Version = 1;
    private readonly ArrayBufferWriter<byte> _part = new(1 << 16);
    private readonly Dictionary<string, int> _numbers = new(StringComparer.Ordinal);
    private KeySet _others = new();

    /// <summary>What tells the keys of one seed from those of another.</summary>
    public static ulong Mark(Keys keys) => keys.Of("homerooms");

    /// <summary>What has been written since the last <see cref="TakePart"/>.</summary>
    public ReadOnlySpan<byte> Entries => _part.WrittenSpan;

    /// <summary>What has been written since the last call, as a part of its own; null when nothing has.</summary>
    public byte[]? TakePart()
    {
        if (_part.WrittenCount == 0)
        {
            return null;
        }

        var part = new byte[1 + sizeof(ulong) + _part.WrittenCount];
        part[0] = Version;
        BinaryPrimitives.WriteUInt64LittleEndian(part.AsSpan(1), Mark(keys));
        _part.WrittenSpan.CopyTo(part.AsSpan(1 + sizeof(ulong)));
        _part.ResetWrittenCount();
        return part;
    }

    /// <summary>Homerooms that earlier parts have, in the order of their numbers.</summary>
    public void GoOnFrom(IEnumerable<string> homerooms)
    {
        foreach (var id in homerooms)
        {
            _numbers.Add(id, _numbers.Count);
        }
    }

    public void Reset()
    {
        _part.ResetWrittenCount();
        _numbers.Clear();
        _others = new();
        Entry(HomeroomEntry.Reset);
    }

    public void ResetEnrollments() => Entry(HomeroomEntry.ResetEnrollments);

    public void Class(Class row)
    {
        var id = row.SourcedId!;
        var isHomeroom = HomeroomIntake.IsHomeroom(row);
        if (!isHomeroom && !_numbers.ContainsKey(id))
        {
            OtherClass(id);
            return;
        }

        _numbers.TryAdd(id, _numbers.Count);
        Entry(HomeroomEntry.Homeroom);
        Text(id);
        Byte(isHomeroom && row.Status == RecordStatus.Active ? 1 : 0);
        Text(row.ClassCode);
        Text(row.Title);
        Text(row.Location);
        Text(row.School);
        Number(row.Terms?.Count ?? 0);
        foreach (var term in row.Terms ?? [])
        {
            Text(term);
        }
    }

    /// <summary>Takes an enrollment, if it makes somebody a student or teacher of a homeroom.</summary>
    /// <returns>False when it does not.</returns>
    public bool Enrollment(Enrollment row)
    {
        if (row is not { User: { } user, Class: { } classId, Status: RecordStatus.Active } || HomeroomIntake.RoleOf(row) is not { } role)
        {
            return false;
        }

        if (!_numbers.TryGetValue(classId, out var number))
        {
            // Also one whose class is nowhere: should it come as a homeroom one day, somebody is in it already.
            OtherClass(classId);
            return false;
        }

        Entry(HomeroomEntry.Enrollment);
        Number(keys.Of(row.SourcedId));
        Number(keys.Check(row.SourcedId));
        Number(number);
        Number(keys.Of(user));
        Number(keys.Check(user));
        Number(row.Begin?.DayNumber ?? int.MinValue);
        Number(row.End?.DayNumber ?? int.MaxValue);
        Byte((role == HomeroomRole.Teacher ? 1 : 0) | (row.Primary ? 2 : 0));
        if (role == HomeroomRole.Teacher)
        {
            Text(user);
        }

        return true;
    }

    public void Gone(Enrollment row)
    {
        Entry(HomeroomEntry.Gone);
        Number(keys.Of(row.SourcedId));
        Number(keys.Check(row.SourcedId));
    }

    public void Teacher(string id, string name)
    {
        Entry(HomeroomEntry.Teacher);
        Text(id);
        Text(name);
    }

    private void OtherClass(string id)
    {
        var key = keys.Of(id);
        if (_others.Add(key))
        {
            Entry(HomeroomEntry.OtherClass);
            Number(key);
        }
    }

    private void Entry(HomeroomEntry entry) => Byte((int)entry);

    private void Byte(int value)
    {
        _part.GetSpan(1)[0] = (byte)value;
        _part.Advance(1);
    }

    private void Number(int value)
    {
        BinaryPrimitives.WriteInt32LittleEndian(_part.GetSpan(sizeof(int)), value);
        _part.Advance(sizeof(int));
    }

    private void Number(uint value) => Number((int)value);

    private void Number(ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(_part.GetSpan(sizeof(ulong)), value);
        _part.Advance(sizeof(ulong));
    }

    private void Text(string? text)
    {
        if (text is null)
        {
            Number(-1);
            return;
        }

        Number(Encoding.UTF8.GetByteCount(text));
        _part.Advance(Encoding.UTF8.GetBytes(text, _part.GetSpan(text.Length * 3)));
    }
}

/// <summary>What earlier runs knew of homerooms, and what the changes since make of it.</summary>
/// <param name="keys">The run's keys: those of the run that began the log.</param>
internal sealed class HomeroomMemory(Keys keys)
{
    private readonly List<Class> _classes = [];
    private readonly Dictionary<string, int> _numbers = new(StringComparer.Ordinal);
    private readonly KeySet _others = new();
    private readonly Rows<Membership> _members = new();
    private readonly Dictionary<(ulong Key, uint Check), int> _places = [];
    private readonly Dictionary<int, string> _teacherIds = [];
    private readonly Dictionary<string, string> _teachers = new(StringComparer.Ordinal);

    /// <summary>The log begins where it should.</summary>
    public bool Begun { get; private set; }

    /// <summary>Something came up that only a whole read tells: a class of which nothing is known, or one that became a homeroom.</summary>
    public bool Incomplete { get; private set; }

    /// <summary>Takes the next part of a log.</summary>
    /// <returns>False when it is of another version or of other keys, or what came before it is missing.</returns>
    public bool Replay(byte[] part)
    {
        const int Head = 1 + sizeof(ulong);
        if (
            part.Length <= Head
            || part[0] != HomeroomLog.Version
            || BinaryPrimitives.ReadUInt64LittleEndian(part.AsSpan(1)) != HomeroomLog.Mark(keys)
        )
        {
            return false;
        }

        Begun = Begun || part[Head] == (byte)HomeroomEntry.Reset;
        if (Begun)
        {
            Replay(part.AsSpan(Head));
        }

        return Begun;
    }

    /// <summary>Takes what changed since.</summary>
    /// <param name="classes">Classes that changed.</param>
    /// <param name="enrollments">Enrollments that changed.</param>
    /// <param name="members">Gets the people whose membership it makes another.</param>
    /// <param name="touched">Gets the homerooms that it changes or gives another teacher.</param>
    /// <returns>What it adds to the log.</returns>
    public HomeroomLog Apply(
        IReadOnlyCollection<Class> classes,
        IReadOnlyCollection<Enrollment> enrollments,
        HashSet<(ulong Key, uint Check)> members,
        HashSet<string> touched
    )
    {
        var log = new HomeroomLog(keys);
        log.GoOnFrom(_classes.Select(c => c.SourcedId!));
        foreach (var row in classes)
        {
            if (row.SourcedId is not { } id)
            {
                continue;
            }

            var isHomeroom = HomeroomIntake.IsHomeroom(row);
            if (isHomeroom && _others.Contains(keys.Of(id)))
            {
                Incomplete = true;
            }

            if (isHomeroom || _numbers.ContainsKey(id))
            {
                touched.Add(id);
            }

            log.Class(row);
        }

        // The classes first, so that enrollments find them.
        Replay(log.Entries);
        var seen = log.Entries.Length;
        foreach (var row in enrollments)
        {
            var id = (keys.Of(row.SourcedId), keys.Check(row.SourcedId));
            var known = id.Item1 != 0 && _places.TryGetValue(id, out var place) ? place : -1;
            if (known >= 0)
            {
                ref var before = ref _members[known];
                if (before.Teaches)
                {
                    touched.Add(_classes[before.Class].SourcedId!);
                }
                else
                {
                    members.Add((before.User, before.Check));
                }
            }

            if (row.Class is { } classId && !_numbers.ContainsKey(classId) && !_others.Contains(keys.Of(classId)))
            {
                Incomplete = true;
            }

            if (log.Enrollment(row))
            {
                if (HomeroomIntake.RoleOf(row) == HomeroomRole.Teacher)
                {
                    touched.Add(row.Class!);
                }
                else
                {
                    members.Add((keys.Of(row.User), keys.Check(row.User)));
                }
            }
            else if (known >= 0)
            {
                log.Gone(row);
            }
        }

        Replay(log.Entries[seen..]);
        return log;
    }

    /// <summary>Gives what is known to an intake, in the order in which a read would.</summary>
    public void Feed(HomeroomIntake intake)
    {
        foreach (var row in _classes)
        {
            intake.Class(row);
        }

        for (var i = 0; i < _members.Count; i++)
        {
            ref var member = ref _members[i];
            if (!member.Gone)
            {
                intake.Membership(
                    _classes[member.Class].SourcedId!,
                    member.User,
                    member.Check,
                    member.Begin == int.MinValue ? null : DateOnly.FromDayNumber(member.Begin),
                    member.End == int.MaxValue ? null : DateOnly.FromDayNumber(member.End),
                    member.Teaches ? _teacherIds[i] : null,
                    member.Primary
                );
            }
        }

        foreach (var (id, name) in _teachers)
        {
            intake.Teacher(id, name);
        }
    }

    private void Replay(ReadOnlySpan<byte> source)
    {
        while (source.Length > 0)
        {
            var entry = (HomeroomEntry)source[0];
            source = source[1..];
            switch (entry)
            {
                case HomeroomEntry.Reset:
                    _classes.Clear();
                    _numbers.Clear();
                    _teachers.Clear();
                    ForgetMembers();
                    break;
                case HomeroomEntry.ResetEnrollments:
                    ForgetMembers();
                    break;
                case HomeroomEntry.Homeroom:
                    ReplayClass(ref source);
                    break;
                case HomeroomEntry.OtherClass:
                    _others.Add(ReadKey(ref source));
                    break;
                case HomeroomEntry.Enrollment:
                    ReplayEnrollment(ref source);
                    break;
                case HomeroomEntry.Gone:
                    if (_places.TryGetValue((ReadKey(ref source), (uint)ReadNumber(ref source)), out var place))
                    {
                        _members[place].Gone = true;
                    }

                    break;
                case HomeroomEntry.Teacher:
                    _teachers[ReadText(ref source)!] = ReadText(ref source)!;
                    break;
                default:
                    throw new InvalidDataException($"A part of the known homerooms holds an entry of kind {entry}.");
            }
        }
    }

    private void ForgetMembers()
    {
        _members.Clear();
        _places.Clear();
        _teacherIds.Clear();
    }

    private void ReplayClass(ref ReadOnlySpan<byte> source)
    {
        var id = ReadText(ref source)!;
        var live = source[0] != 0;
        source = source[1..];
        var (code, title, location, school) = (ReadText(ref source), ReadText(ref source), ReadText(ref source), ReadText(ref source));
        var terms = new string[ReadNumber(ref source)];
        for (var i = 0; i < terms.Length; i++)
        {
            terms[i] = ReadText(ref source)!;
        }

        var row = new Class
        {
            SourcedId = id,
            Status = live ? RecordStatus.Active : RecordStatus.ToBeDeleted,
            ClassType = HomeroomIntake.HomeroomType,
            ClassCode = code,
            Title = title,
            Location = location,
            School = school,
            Terms = terms,
        };
        if (_numbers.TryGetValue(id, out var number))
        {
            _classes[number] = row;
        }
        else
        {
            _numbers.Add(id, _classes.Count);
            _classes.Add(row);
        }
    }

    private void ReplayEnrollment(ref ReadOnlySpan<byte> source)
    {
        var id = (ReadKey(ref source), (uint)ReadNumber(ref source));
        var member = new Membership
        {
            Class = ReadNumber(ref source),
            User = ReadKey(ref source),
            Check = (uint)ReadNumber(ref source),
            Begin = ReadNumber(ref source),
            End = ReadNumber(ref source),
            Teaches = (source[0] & 1) != 0,
            Primary = (source[0] & 2) != 0,
        };
        source = source[1..];
        if (id.Item1 == 0 || !_places.TryGetValue(id, out var place))
        {
            place = _members.Count;
            _members.Add(member);
            if (id.Item1 != 0)
            {
                _places.Add(id, place);
            }
        }
        else
        {
            _members[place] = member;
        }

        if (member.Teaches)
        {
            _teacherIds[place] = ReadText(ref source)!;
        }
    }

    private static int ReadNumber(ref ReadOnlySpan<byte> source)
    {
        var value = BinaryPrimitives.ReadInt32LittleEndian(source);
        source = source[sizeof(int)..];
        return value;
    }

    private static ulong ReadKey(ref ReadOnlySpan<byte> source)
    {
        var value = BinaryPrimitives.ReadUInt64LittleEndian(source);
        source = source[sizeof(ulong)..];
        return value;
    }

    private static string? ReadText(ref ReadOnlySpan<byte> source)
    {
        var size = ReadNumber(ref source);
        if (size < 0)
        {
            return null;
        }

        var text = Encoding.UTF8.GetString(source[..size]);
        source = source[size..];
        return text;
    }

    /// <summary>Somebody in a homeroom, whether it is current or not.</summary>
    private struct Membership
    {
        public ulong User;
        public uint Check;
        public int Class;

        /// <summary>Day numbers; the extremes where there is none.</summary>
        public int Begin;
        public int End;
        public bool Teaches;
        public bool Primary;
        public bool Gone;
    }
}
