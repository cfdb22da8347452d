using System.Data.Common;

namespace Rollcall.Storage;

/// <summary>A transaction that reads something of a district and writes what follows from it: one at a time in a district, so that no
/// reader's answer grows old before it is written back.</summary>
internal sealed class DistrictTransaction : IAsyncDisposable
{
    private DistrictTransaction(DbConnection connection, DbTransaction transaction, RollcallContext context) =>
        (Connection, Transaction, Context) = (connection, transaction, context);

    public DbConnection Connection { get; }
    public DbTransaction Transaction { get; }
    public RollcallContext Context { get; }

    /// <summary>What is done when everything else is saved, right before the commit: long statements whose stamp is to be young when it is seen.</summary>
    public Func<Task>? AtLast { get; set; }

    /// <summary>Waits for its turn. What is not committed is rolled back when it is disposed.</summary>
    public static async Task<DistrictTransaction> BeginAsync(
        RollcallDatabase database,
        int districtId,
        CancellationToken cancellationToken
    ) => await BeginAsync(await database.OpenAsync(cancellationToken), database, districtId, cancellationToken);

    /// <summary>As <see cref="BeginAsync(RollcallDatabase, int, CancellationToken)"/>, whichever district the request is of: who signs in may
    /// do so where another district is still open.</summary>
    public static async Task<DistrictTransaction> BeginAsOwnerAsync(
        RollcallDatabase database,
        int districtId,
        CancellationToken cancellationToken
    ) => await BeginAsync(await database.OpenAsOwnerAsync(cancellationToken), database, districtId, cancellationToken);

    private static async Task<DistrictTransaction> BeginAsync(
        DbConnection connection,
        RollcallDatabase database,
        int districtId,
        CancellationToken cancellationToken
    )
    {
        try
        {
            var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
            await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
            return new DistrictTransaction(connection, transaction, database.CreateContext(connection, transaction));
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    /// <summary>Saves what the context holds, and commits.</summary>
    public async Task CommitAsync(CancellationToken cancellationToken)
    {
        await Context.SaveChangesAsync(cancellationToken);
        if (AtLast is { } last)
        {
            await last();
        }

        await Transaction.CommitAsync(cancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        await Context.DisposeAsync();
        await Transaction.DisposeAsync();
        await Connection.DisposeAsync();
    }
}
