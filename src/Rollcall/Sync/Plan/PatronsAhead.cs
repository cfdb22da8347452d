using System.Data.Common;
using Rollcall.Storage;

namespace Rollcall.Sync.Plan;

/// <summary>Patrons that are read while the roster still is, on a connection of their own. Whoever writes patrons leaves an operation behind, a
/// hand edit too: when one has come meanwhile, they are read again, so that nobody who was just added is taken for a stranger.</summary>
internal sealed class PatronsAhead(RollcallDatabase database, SyncSetup setup) : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private Task<(long Mark, PatronIndex Patrons)>? _reading;

    /// <summary>Begins to read, once.</summary>
    public void Begin() => _reading = Task.Run(ReadAsync);

    /// <summary>What has been begun; null when nothing has, or it has been taken.</summary>
    internal Task<(long Mark, PatronIndex Patrons)>? Reading => _reading;

    /// <summary>The patrons as they are now.</summary>
    /// <param name="connection">Asks what has come since, and for the patrons where they have to be read now.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<PatronIndex> TakeAsync(DbConnection connection, CancellationToken cancellationToken)
    {
        if (_reading is not null)
        {
            var (mark, patrons) = await _reading.WaitAsync(cancellationToken);
            _reading = null;
            if (mark == await MarkAsync(connection, cancellationToken))
            {
                return patrons;
            }
        }

        return await PatronIndex.LoadAsync(connection, setup.District.Id, setup.Keys, cancellationToken);
    }

    /// <summary>Lets go of what has been read, or stops reading.</summary>
    public async Task DropAsync()
    {
        if (_reading is { } reading)
        {
            _reading = null;
            await _stop.CancelAsync();
            await ((Task)reading).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await DropAsync();
        _stop.Dispose();
    }

    private async Task<(long, PatronIndex)> ReadAsync()
    {
        await using var connection = await database.OpenAsync(_stop.Token);

        // First the mark: who writes in between is seen by it, not missed.
        var mark = await MarkAsync(connection, _stop.Token);
        return (mark, await PatronIndex.LoadAsync(connection, setup.District.Id, setup.Keys, _stop.Token));
    }

    private Task<long> MarkAsync(DbConnection connection, CancellationToken cancellationToken) =>
        Sql.ScalarAsync(
            connection,
            null,
            "SELECT coalesce(max(id), 0) FROM operations WHERE district_id = @district",
            cancellationToken,
            ("@district", setup.District.Id)
        );
}
