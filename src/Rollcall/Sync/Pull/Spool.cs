using System.Buffers;
using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;
using Rollcall.OneRoster.Model;
using Rollcall.Patrons;

namespace Rollcall.Sync.Pull;

/// <summary>Roster people on disk while a run works: appended once, read in order or by position. Private to the run and the user
/// that runs it, and deleted by the operating system with its last handle.</summary>
internal sealed class Spool : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly ArrayBufferWriter<byte> _pending = new(1 << 20);
    private long _written;

    public Spool(string folder, string name)
    {
        Directory.CreateDirectory(folder);
        var path = Path.Combine(folder, $"{name}-{System.Guid.NewGuid():N}.spool");
        using (new FileStream(path, Mode(FileMode.CreateNew)))
        {
            // Made with its rights before anything is in it.
        }

        _handle = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.Delete, FileOptions.DeleteOnClose);
        if (!OperatingSystem.IsWindows())
        {
            // Without a name even a kill leaves nothing behind.
            File.Delete(path);
        }
    }

    /// <summary>Appends a person; the position reads it again.</summary>
    public long Append(User user)
    {
        var position = _written + _pending.WrittenCount;
        UserCodec.Write(_pending, user);
        if (_pending.WrittenCount >= 1 << 20)
        {
            Flush();
        }

        return position;
    }

    /// <summary>Forgets everything: the collection is being read again.</summary>
    public void Clear()
    {
        _pending.ResetWrittenCount();
        _written = 0;
    }

    public SpoolReader OpenReader(int window)
    {
        Flush();
        return new SpoolReader(_handle, _written, window);
    }

    public void Dispose() => _handle.Dispose();

    private void Flush()
    {
        if (_pending.WrittenCount > 0)
        {
            RandomAccess.Write(_handle, _pending.WrittenSpan, _written);
            _written += _pending.WrittenCount;
            _pending.ResetWrittenCount();
        }
    }

    private static FileStreamOptions Mode(FileMode mode)
    {
        var options = new FileStreamOptions { Mode = mode, Access = FileAccess.ReadWrite };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        return options;
    }
}

/// <summary>Reads a spool through a window: large for reading in order, small for reading here and there.</summary>
internal sealed class SpoolReader(SafeFileHandle handle, long length, int window)
{
    private byte[] _buffer = new byte[window];
    private long _start;
    private int _count;

    public User Read(long position)
    {
        Ensure(position, 4);
        var size = BinaryPrimitives.ReadInt32LittleEndian(_buffer.AsSpan((int)(position - _start)));
        Ensure(position, size);
        return UserCodec.Read(_buffer.AsSpan((int)(position - _start), size));
    }

    private void Ensure(long position, int size)
    {
        if (position >= _start && position + size <= _start + _count)
        {
            return;
        }

        if (size > _buffer.Length)
        {
            _buffer = new byte[size * 2];
        }

        _start = position;
        _count = 0;
        var want = (int)Math.Min(_buffer.Length, length - position);
        while (_count < want)
        {
            var read = RandomAccess.Read(handle, _buffer.AsSpan(_count, want - _count), position + _count);
            if (read == 0)
            {
                break;
            }

            _count += read;
        }

        if (_count < size)
        {
            throw new IOException("The spool of this run ended early. Check that the data folder's disk is not full.");
        }
    }
}

/// <summary>The parts of a user that a mapping can use, as bytes.</summary>
internal static class UserCodec
{
    public static void Write(ArrayBufferWriter<byte> target, User user)
    {
        var before = target.WrittenCount;
        target.GetSpan(4);
        target.Advance(4);
        Text(target, user.SourcedId);
        Byte(
            target,
            (byte)(
                (user.Status == RecordStatus.ToBeDeleted ? 1 : 0)
                | (user.Enabled ? 2 : 0)
                | (user.HasRoleList ? 4 : 0)
                | (user.OrgsPartial ? 8 : 0)
            )
        );
        Text(target, user.GivenName);
        Text(target, user.FamilyName);
        Text(target, user.MiddleName);
        Text(target, user.PreferredFirstName);
        Text(target, user.Username);
        Text(target, user.Identifier);
        Text(target, user.Email);
        Text(target, user.Phone);
        Text(target, user.PrimaryOrg);
        Text(target, user.MetadataPrimaryOrg);
        Long(target, user.LastModified?.UtcTicks ?? 0);
        Count(target, user.UserIds?.Count);
        foreach (var id in user.UserIds ?? [])
        {
            Text(target, id.Type);
            Text(target, id.Identifier);
        }

        Count(target, user.Grades?.Count);
        foreach (var grade in user.Grades ?? [])
        {
            Text(target, grade);
        }

        Count(target, user.Agents?.Count);
        foreach (var agent in user.Agents ?? [])
        {
            Text(target, agent);
        }

        Count(target, user.Roles.Count);
        foreach (var role in user.Roles)
        {
            Text(target, role.Role);
            Text(target, role.Org);
            Byte(target, role.Primary ? (byte)1 : (byte)0);
            Count(target, role.Begin?.DayNumber);
            Count(target, role.End?.DayNumber);
        }

        // The buffer may have moved while it grew; its start is found again through the written span.
        var written = System.Runtime.InteropServices.MemoryMarshal.AsMemory(target.WrittenMemory).Span;
        BinaryPrimitives.WriteInt32LittleEndian(written[before..], target.WrittenCount - before);
    }

    public static User Read(ReadOnlySpan<byte> source)
    {
        source = source[4..];
        var sourcedId = Text(ref source);
        var flags = source[0];
        source = source[1..];
        var given = Text(ref source);
        var family = Text(ref source);
        var middle = Text(ref source);
        var preferred = Text(ref source);
        var username = Text(ref source);
        var identifier = Text(ref source);
        var email = Text(ref source);
        var phone = Text(ref source);
        var primaryOrg = Text(ref source);
        var metadataOrg = Text(ref source);
        var modified = BinaryPrimitives.ReadInt64LittleEndian(source);
        source = source[8..];
        var ids = List(ref source, static (ref ReadOnlySpan<byte> s) => new UserId(Text(ref s) ?? "", Text(ref s) ?? ""));
        var grades = List(ref source, static (ref ReadOnlySpan<byte> s) => Text(ref s) ?? "");
        var agents = List(ref source, static (ref ReadOnlySpan<byte> s) => Text(ref s) ?? "");
        var roles = List(ref source, Role);
        return new User
        {
            SourcedId = sourcedId,
            Status = (flags & 1) != 0 ? RecordStatus.ToBeDeleted : RecordStatus.Active,
            LastModified = modified == 0 ? null : new DateTimeOffset(modified, TimeSpan.Zero),
            Enabled = (flags & 2) != 0,
            HasRoleList = (flags & 4) != 0,
            OrgsPartial = (flags & 8) != 0,
            GivenName = given,
            FamilyName = family,
            MiddleName = middle,
            PreferredFirstName = preferred,
            Username = username,
            Identifier = identifier,
            Email = email,
            Phone = phone,
            PrimaryOrg = primaryOrg,
            MetadataPrimaryOrg = metadataOrg,
            UserIds = ids,
            Grades = grades,
            Agents = agents,
            Roles = roles ?? [],
        };
    }

    private delegate T Reader<T>(ref ReadOnlySpan<byte> source);

    private static UserRole Role(ref ReadOnlySpan<byte> source)
    {
        var role = Text(ref source) ?? "";
        var org = Text(ref source);
        var primary = source[0] != 0;
        source = source[1..];
        var begin = Number(ref source);
        var end = Number(ref source);
        return new UserRole(
            role,
            org,
            primary,
            begin < 0 ? null : DateOnly.FromDayNumber(begin),
            end < 0 ? null : DateOnly.FromDayNumber(end)
        );
    }

    private static T[]? List<T>(ref ReadOnlySpan<byte> source, Reader<T> read)
    {
        var count = Number(ref source);
        if (count < 0)
        {
            return null;
        }

        var items = new T[count];
        for (var i = 0; i < count; i++)
        {
            items[i] = read(ref source);
        }

        return items;
    }

    private static void Byte(ArrayBufferWriter<byte> target, byte value)
    {
        target.GetSpan(1)[0] = value;
        target.Advance(1);
    }

    private static void Count(ArrayBufferWriter<byte> target, int? value)
    {
        BinaryPrimitives.WriteInt32LittleEndian(target.GetSpan(4), value ?? -1);
        target.Advance(4);
    }

    private static void Long(ArrayBufferWriter<byte> target, long value)
    {
        BinaryPrimitives.WriteInt64LittleEndian(target.GetSpan(8), value);
        target.Advance(8);
    }

    private static int Number(ref ReadOnlySpan<byte> source)
    {
        var value = BinaryPrimitives.ReadInt32LittleEndian(source);
        source = source[4..];
        return value;
    }

    private static void Text(ArrayBufferWriter<byte> target, string? text)
    {
        if (text is null)
        {
            Count(target, null);
            return;
        }

        var span = target.GetSpan(4 + (text.Length * 3));
        var size = System.Text.Encoding.UTF8.GetBytes(text, span[4..]);
        BinaryPrimitives.WriteInt32LittleEndian(span, size);
        target.Advance(4 + size);
    }

    private static string? Text(ref ReadOnlySpan<byte> source)
    {
        var size = Number(ref source);
        if (size < 0)
        {
            return null;
        }

        var text = System.Text.Encoding.UTF8.GetString(source[..size]);
        source = source[size..];
        return text;
    }
}
