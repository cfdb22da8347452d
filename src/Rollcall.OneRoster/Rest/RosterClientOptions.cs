using System.Reflection;

namespace Rollcall.OneRoster.Rest;

/// <summary>How a client behaves on the wire. The defaults suit ClassLink and are mild to any other server.</summary>
public sealed record RosterClientOptions
{
    /// <summary>The defaults.</summary>
    public static RosterClientOptions Default { get; } = new();

    /// <summary>The path between the address and a collection: <c>/ims/oneroster/v1p1</c>, or
    /// <c>/ims/oneroster/rostering/v1p2</c> for OneRoster 1.2. Blank when the
    /// address is the whole base already. The form of the data is detected from the data.</summary>
    public string ServicePath { get; init; } = "/ims/oneroster/v1p1";

    /// <summary>The smallest <see cref="PageSize"/>.</summary>
    public const int SmallestPage = 100;

    /// <summary>The largest <see cref="PageSize"/>, which is what ClassLink gives at most.</summary>
    public const int LargestPage = 10_000;

    /// <summary>Rows asked for at once, <see cref="SmallestPage"/> to <see cref="LargestPage"/>. The server may send fewer, and is asked for
    /// fewer where it finds so many too heavy.</summary>
    public int PageSize { get; init; } = 1000;

    /// <summary>Time for one response with its whole body, not counting retries.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The largest response accepted, in bytes after decompression.</summary>
    public long MaxResponseBytes { get; init; } = 256L * 1024 * 1024;

    /// <summary>Waits before each retry; as many retries as entries. Up to <see cref="Jitter"/> is added.</summary>
    public IReadOnlyList<TimeSpan> RetryDelays { get; init; } =
    [TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(4), TimeSpan.FromSeconds(8), TimeSpan.FromSeconds(16)];

    /// <summary>The most that is added to each wait at random, so that many clients do not come back together.</summary>
    public TimeSpan Jitter { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest <c>Retry-After</c> that is waited for, and the most of one request in all; a server that asks for more has failed for this run.</summary>
    public TimeSpan LongestRetryAfter { get; init; } = TimeSpan.FromMinutes(15);

    /// <summary>The most requests that one source sends, retries included. A roster of a million people takes some thousands; a server that
    /// sends records without end reaches this.</summary>
    public int MaxRequests { get; init; } = 250_000;

    /// <summary>Allows plain http, loopback and private networks; see <see cref="AddressGuard"/>.</summary>
    public bool AllowPrivateAddresses { get; init; }

    /// <summary>A sentence at the end of a refusal that tells people how such addresses are allowed in the application; null names
    /// <see cref="AllowPrivateAddresses"/>.</summary>
    public string? PrivateAddressHint { get; init; }

    /// <summary>The clock of timestamps, waits and time-outs.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>The <c>User-Agent</c> header.</summary>
    public string UserAgent { get; init; } =
        "Rollcall/"
        + (typeof(RosterClientOptions).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "0");

    internal void Check()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(PageSize, SmallestPage);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(PageSize, LargestPage);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(Timeout, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxResponseBytes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxRequests, 1);
    }
}
