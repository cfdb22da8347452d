using System.Globalization;
using Rollcall.Storage;

namespace Rollcall.Server.Watch;

/// <summary>This node's clock beside that of the database, which all nodes share: leases, nights, links and second factors go by it.</summary>
internal sealed class NodeClock(RollcallDatabase database, TimeProvider time)
{
    /// <summary>Further off than this is told of.</summary>
    private static readonly TimeSpan s_told = TimeSpan.FromMinutes(1);

    /// <summary>Further off than this a node begins nothing by the clock: the others do.</summary>
    private static readonly TimeSpan s_wrong = TimeSpan.FromMinutes(10);

    /// <summary>What is wrong, for the operator; null when nothing is.</summary>
    public async Task<string?> TroubleAsync(CancellationToken cancellationToken) =>
        await AheadAsync(cancellationToken) is { } ahead && ahead.Duration() > s_told ? InWords(ahead) : null;

    /// <summary>Why nothing is begun by this clock; null when it may be.</summary>
    public async Task<string?> WhyNotAsync(CancellationToken cancellationToken) =>
        await AheadAsync(cancellationToken) is { } ahead && ahead.Duration() > s_wrong ? InWords(ahead) : null;

    private static string InWords(TimeSpan ahead) =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{ahead.Duration().TotalSeconds:0} seconds {(ahead > TimeSpan.Zero ? "ahead of" : "behind")} the database's"
        );

    /// <summary>How far this clock is ahead; null on SQLite, whose clock it is. What the question takes is not counted.</summary>
    private async Task<TimeSpan?> AheadAsync(CancellationToken cancellationToken)
    {
        if (!database.IsPostgres)
        {
            return null;
        }

        await using var connection = await database.OpenAsOwnerAsync(cancellationToken);
        await using var command = connection.CreateCommand();
        command.CommandText = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        var before = time.GetUtcNow();
        var theirs = DateTimeOffset.FromUnixTimeMilliseconds(
            Convert.ToInt64(await command.ExecuteScalarAsync(cancellationToken), CultureInfo.InvariantCulture)
        );
        var after = time.GetUtcNow();
        return theirs < before ? before - theirs
            : theirs > after ? after - theirs
            : TimeSpan.Zero;
    }
}
