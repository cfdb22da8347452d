using System.Data.Common;
using Rollcall.Operations;
using Rollcall.Storage;

namespace Rollcall.Sync.Plan;

/// <summary>Numbers change rows and stores them in batches. They count only once the operation says that it is planned.</summary>
/// <param name="database">The database.</param>
/// <param name="connection">The connection that is written by.</param>
/// <param name="districtId">The district.</param>
/// <param name="operationId">The operation that the rows belong to.</param>
/// <param name="fence">The worker's fence: rows of a worker that has lost the operation are refused. Null where no worker plans.</param>
internal sealed class ChangeWriter(RollcallDatabase database, DbConnection connection, int districtId, long operationId, long? fence = null)
{
    private const int BatchSize = 2000;
    private readonly List<Change> _batch = new(BatchSize);

    public long Count { get; private set; }

    public async ValueTask AddAsync(Change change, CancellationToken cancellationToken)
    {
        change.DistrictId = districtId;
        change.OperationId = operationId;
        change.Number = ++Count;
        _batch.Add(change);
        if (_batch.Count >= BatchSize)
        {
            await FlushAsync(cancellationToken);
        }
    }

    public async Task FlushAsync(CancellationToken cancellationToken)
    {
        if (_batch.Count == 0)
        {
            return;
        }

        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        if (fence is { } mine)
        {
            await OperationQueue.EnsureMineAsync(connection, transaction, operationId, mine, cancellationToken);
        }

        await database.Bulk.InsertAsync(connection, transaction, BulkTables.Changes, _batch, cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        _batch.Clear();
    }
}

/// <summary>Patron ids, reserved in blocks. Those that a dropped plan reserved stay unused.</summary>
internal sealed class PatronIds(RollcallDatabase database, DbConnection connection, int districtId)
{
    private const int Block = 1000;
    private long _next;
    private long _end;

    public async ValueTask<long> NextAsync(CancellationToken cancellationToken)
    {
        if (_next == _end)
        {
            await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
            await using var command = connection.CreateCommand();
            command.Transaction = transaction;
            command.CommandText =
                "UPDATE districts SET next_patron_id = next_patron_id + @block WHERE id = @district RETURNING next_patron_id";
            Sql.Add(command, "@block", Block);
            Sql.Add(command, "@district", districtId);
            _end = Convert.ToInt64(await command.ExecuteScalarAsync(cancellationToken), System.Globalization.CultureInfo.InvariantCulture);
            await transaction.CommitAsync(cancellationToken);
            _next = _end - Block;
        }

        return _next++;
    }
}
