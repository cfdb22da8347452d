using System.Data.Common;

namespace Rollcall.Storage;

/// <summary>The paths on which the databases differ: writing many rows, and the clock and locks that a worker relies on.</summary>
internal interface IBulkStore
{
    /// <summary>SQL for the database's own clock in Unix milliseconds.</summary>
    string NowMilliseconds { get; }

    /// <summary>The function that says where in its first text the second one begins; 0 is nowhere.</summary>
    string PositionOf { get; }

    /// <summary>Begins a transaction that will write: on SQLite it takes the write lock at once, so that what is read stays true.</summary>
    Task<DbTransaction> BeginWriteAsync(DbConnection connection, CancellationToken cancellationToken);

    /// <summary>Lets one transaction at a time give out what is unique in a district: barcodes, GUIDs, waiting syncs. Taken before any
    /// patron's lock, so that nobody waits in a ring.</summary>
    Task LockDistrictAsync(DbConnection connection, DbTransaction transaction, int districtId, CancellationToken cancellationToken);

    /// <summary>Keeps other transactions from changing these patrons until this one ends.</summary>
    Task LockPatronsAsync(
        DbConnection connection,
        DbTransaction transaction,
        int districtId,
        IReadOnlyCollection<long> ids,
        CancellationToken cancellationToken
    );

    /// <summary>Inserts rows that are not there yet.</summary>
    Task InsertAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    );

    /// <summary>Overwrites all columns of rows that are there.</summary>
    Task UpdateAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    );

    /// <summary>Inserts rows, or overwrites those that are there.</summary>
    Task UpsertAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    );

    /// <summary>Tables have grown to several times their size: what is asked meanwhile is to be planned for what is there now.</summary>
    Task TablesGrewAsync(DbConnection connection, CancellationToken cancellationToken);

    /// <summary>Rows of a slice after <paramref name="lastSize"/> rows took <paramref name="elapsed"/>.</summary>
    int NextSlice(int lastSize, TimeSpan elapsed);

    /// <summary>How long a slice is followed by nothing, so that a page's save gets in.</summary>
    TimeSpan PauseBetweenSlices { get; }
}
