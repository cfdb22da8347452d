using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace Rollcall.Tests.Infrastructure;

/// <summary>How a statement fails.</summary>
public enum FaultKind
{
    /// <summary>It is not carried out; the next one is.</summary>
    Before,

    /// <summary>It is carried out, but whoever asked never hears of it.</summary>
    After,

    /// <summary>It is not carried out, and none after it: the process died before it.</summary>
    DiesBefore,

    /// <summary>It is carried out, and none after it.</summary>
    DiesAfter,
}

/// <summary>Lets the n-th statement of an installation fail.</summary>
public sealed class StatementFault
{
    private readonly Lock _gate = new();
    private FaultKind _kind;
    private int _at;
    private bool _armed;
    private readonly List<int> _rows = [];

    /// <summary>Which of the statements since it was armed wrote a row in bulk.</summary>
    public IReadOnlyList<int> Rows => _rows;

    /// <summary>Statements since it was armed.</summary>
    public int Seen { get; private set; }

    /// <summary>The statement came.</summary>
    public bool Fired { get; private set; }

    /// <summary>No statement gets through any more.</summary>
    public bool Dead { get; private set; }

    /// <param name="kind">How it fails.</param>
    /// <param name="at">Which statement, from 1; 0 only counts.</param>
    public void Arm(FaultKind kind, int at)
    {
        lock (_gate)
        {
            (_kind, _at, _armed, Seen, Fired, Dead) = (kind, at, true, 0, false, false);
            _rows.Clear();
        }
    }

    public void Disarm()
    {
        lock (_gate)
        {
            (_armed, Dead) = (false, false);
        }
    }

    /// <summary>A step of a statement that SQLite runs once a row, with what becomes of it.</summary>
    /// <param name="step">Takes it.</param>
    /// <returns>What SQLite answers.</returns>
    public int Step(Func<int> step)
    {
        var what = Next();
        lock (_gate)
        {
            if (_armed)
            {
                _rows.Add(Seen);
            }
        }

        if (what == FaultKind.Before)
        {
            return raw.SQLITE_FULL;
        }

        var result = step();
        return what == FaultKind.After ? raw.SQLITE_IOERR : result;
    }

    /// <summary>What becomes of the next statement; null: nothing happens to it.</summary>
    public FaultKind? Next()
    {
        lock (_gate)
        {
            if (!_armed)
            {
                return null;
            }

            if (Dead)
            {
                return FaultKind.Before;
            }

            if (++Seen != _at)
            {
                return null;
            }

            Fired = true;
            Dead = _kind is FaultKind.DiesBefore or FaultKind.DiesAfter;
            return _kind is FaultKind.Before or FaultKind.DiesBefore ? FaultKind.Before : FaultKind.After;
        }
    }
}

/// <summary>A SQLite connection whose statements can fail, those that begin and end transactions among them.</summary>
public sealed class FaultySqliteConnection(string connection, StatementFault fault) : SqliteConnection(connection)
{
    public override SqliteCommand CreateCommand() =>
        new FaultySqliteCommand(fault)
        {
            Connection = this,
            CommandTimeout = DefaultTimeout,
            Transaction = Transaction,
        };
}

internal sealed class FaultySqliteCommand(StatementFault fault) : SqliteCommand
{
    private const int IoError = 10;

    public override SqliteDataReader ExecuteReader(System.Data.CommandBehavior behavior)
    {
        // A process that dies leaves nothing open: what rolls back is let through.
        var what = CommandText.StartsWith("ROLLBACK", StringComparison.Ordinal) ? null : fault.Next();
        if (what == FaultKind.Before || (what == FaultKind.After && CommandText.StartsWith("BEGIN", StringComparison.Ordinal)))
        {
            // A transaction that begins is known to have begun: there is no line on which the answer could be lost.
            throw new SqliteException("disk I/O error, made by a test", IoError);
        }

        var reader = base.ExecuteReader(behavior);
        if (what == FaultKind.After)
        {
            reader.Dispose();
            throw new SqliteException("disk I/O error after the statement, made by a test", IoError);
        }

        return reader;
    }
}
