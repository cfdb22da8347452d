using System.Data.Common;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Storage;
using Rollcall.Sync.Apply;

namespace Rollcall.Sync.Pull;

/// <summary>Keeps a log of homerooms from one run to the next, part by part, so that it never lies in memory whole.</summary>
/// <param name="database">Where.</param>
/// <param name="operation">The run.</param>
/// <param name="begunBy">The run that began the log: this one, or that of a whole read before it.</param>
internal sealed class HomeroomStore(RollcallDatabase database, Operation operation, long begunBy)
{
    private int? _last;

    /// <summary>What is known; null when nothing is, and everything has to be read.</summary>
    public static async Task<HomeroomMemory?> LoadAsync(
        DbConnection connection,
        int districtId,
        KnownHomerooms? known,
        Keys keys,
        CancellationToken cancellationToken
    )
    {
        if (known is null)
        {
            return null;
        }

        await using var command = connection.CreateCommand();
        command.CommandText = "SELECT data FROM homeroom_parts WHERE district_id = @district AND operation_id = @operation ORDER BY part";
        Sql.Add(command, "@district", districtId);
        Sql.Add(command, "@operation", known.OperationId);
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        var memory = new HomeroomMemory(keys);
        while (await reader.ReadAsync(cancellationToken))
        {
            if (!memory.Replay(reader.GetFieldValue<byte[]>(0)))
            {
                return null;
            }
        }

        return memory.Begun ? memory : null;
    }

    /// <summary>Appends what has been written to the log since.</summary>
    /// <param name="log">The log.</param>
    /// <param name="all">False while it is being written: then what makes no good part yet waits.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task AppendAsync(HomeroomLog log, bool all, CancellationToken cancellationToken)
    {
        const int GoodPart = 256 * 1024;
        if ((!all && log.Entries.Length < GoodPart) || log.TakePart() is not { } data)
        {
            return;
        }

        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        _last ??= await BeginAsync(connection, transaction, cancellationToken);
        var written = await Sql.ExecuteAsync(
            connection,
            transaction,
            $"""
            INSERT INTO homeroom_parts (district_id, operation_id, part, data) SELECT @district, @begun, @part, @data
            WHERE EXISTS (SELECT 1 FROM operations WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running})
            """,
            cancellationToken,
            ("@district", operation.DistrictId),
            ("@begun", begunBy),
            ("@part", ++_last),
            ("@data", data),
            ("@id", operation.Id),
            ("@fence", operation.Fence)
        );
        if (written != 1)
        {
            throw new FencedOffException();
        }

        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>The part that is there already. What an earlier try of this run wrote counts for nothing.</summary>
    private async Task<int> BeginAsync(DbConnection connection, DbTransaction transaction, CancellationToken cancellationToken)
    {
        (string, object?)[] log = [("@district", operation.DistrictId), ("@begun", begunBy)];
        if (begunBy != operation.Id)
        {
            const string Last = "SELECT coalesce(max(part), 0) FROM homeroom_parts WHERE district_id = @district AND operation_id = @begun";
            return (int)await Sql.ScalarAsync(connection, transaction, Last, cancellationToken, log);
        }

        const string Drop = "DELETE FROM homeroom_parts WHERE district_id = @district AND operation_id = @begun";
        await Sql.ExecuteAsync(connection, transaction, Drop, cancellationToken, log);
        return 0;
    }

    /// <summary>Drops all parts but those that count from now on.</summary>
    public static Task DropOthersAsync(RollcallContext context, int districtId, KnownHomerooms? known, CancellationToken cancellationToken)
    {
        var kept = known?.OperationId ?? 0;
        return context.HomeroomParts.Where(h => h.DistrictId == districtId && h.OperationId != kept).ExecuteDeleteAsync(cancellationToken);
    }
}
