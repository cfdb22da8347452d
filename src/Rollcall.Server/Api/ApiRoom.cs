using System.Diagnostics.CodeAnalysis;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Api;

/// <summary>Marks a route whose body is held in memory, whole, for as long as the request is worked on.</summary>
internal sealed class HoldsBody;

/// <summary>
/// How much of requests is held in memory at once. Of one token: a few requests, and no more bytes than one of the largest body has. Of all
/// tokens: twice that, beside what is small. What does not fit is refused, before its body is read where its length is said, and may come again a little later.
/// </summary>
internal sealed class ApiRoom
{
    /// <summary>Requests of one token that are worked on at once.</summary>
    public const int MostAtOnce = 8;

    /// <summary>Requests of all tokens that are worked on at once.</summary>
    public const int MostOfAll = 64;

    /// <summary>Bytes of bodies: of one token, and of all.</summary>
    public const long MostBytes = Commands.Remote.LargestBody;
    public const long MostBytesOfAll = 2 * MostBytes;

    /// <summary>A body of this size is not counted by bytes: a large one of somebody else keeps no word from getting through.</summary>
    public const long Small = 64 * 1024;

    private readonly Lock _gate = new();
    private readonly Dictionary<long, (int Count, long Bytes)> _taken = [];
    private int _count;
    private long _bytes;

    /// <summary>Lets a request in; its room is given back by disposing of the lease.</summary>
    /// <param name="tokenId">Whose.</param>
    /// <param name="length">The length of the body as its sender says it; null when they do not, and it is counted as it comes.</param>
    /// <param name="lease">The room.</param>
    /// <returns>False when there is none now.</returns>
    public bool TryTake(long tokenId, long? length, [NotNullWhen(true)] out Lease? lease)
    {
        lock (_gate)
        {
            var own = _taken.GetValueOrDefault(tokenId);
            if (own.Count >= MostAtOnce || _count >= MostOfAll)
            {
                lease = null;
                return false;
            }

            _taken[tokenId] = (own.Count + 1, own.Bytes);
            _count++;
        }

        lease = new Lease(this, tokenId);
        if (lease.TryHold(length ?? 0))
        {
            return true;
        }

        lease.Dispose();
        lease = null;
        return false;
    }

    private bool TryAdd(long tokenId, long bytes)
    {
        lock (_gate)
        {
            var own = _taken[tokenId];
            if (own.Bytes + bytes > MostBytes || _bytes + bytes > MostBytesOfAll)
            {
                return false;
            }

            _taken[tokenId] = (own.Count, own.Bytes + bytes);
            _bytes += bytes;
            return true;
        }
    }

    private void GiveBack(long tokenId, long bytes)
    {
        lock (_gate)
        {
            var own = _taken[tokenId];
            if (own.Count == 1)
            {
                _taken.Remove(tokenId);
            }
            else
            {
                _taken[tokenId] = (own.Count - 1, own.Bytes - bytes);
            }

            _count--;
            _bytes -= bytes;
        }
    }

    /// <summary>The room that one request has.</summary>
    internal sealed class Lease(ApiRoom room, long tokenId) : IDisposable
    {
        private long _bytes;
        private bool _given;

        /// <summary>Makes room for a body of so many bytes in all.</summary>
        public bool TryHold(long length)
        {
            var more = length <= Small ? 0 : length - _bytes;
            if (more <= 0)
            {
                return true;
            }

            if (!room.TryAdd(tokenId, more))
            {
                return false;
            }

            _bytes += more;
            return true;
        }

        public void Dispose()
        {
            if (!_given)
            {
                _given = true;
                room.GiveBack(tokenId, _bytes);
            }
        }
    }

    /// <summary>A body whose sender did not say how long it is: room is made for it as it comes.</summary>
    internal sealed class CountedBody(Stream body, Lease lease) : BodyStream
    {
        private long _read;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var read = await body.ReadAsync(buffer, cancellationToken);
            _read += read;
            return lease.TryHold(_read) ? read : throw new NoRoomException();
        }
    }
}

/// <summary>The body of a request is larger than there is room for now.</summary>
internal sealed class NoRoomException() : Exception("There is no room for this body now.");
