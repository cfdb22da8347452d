using System.Runtime.CompilerServices;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Csv;

/// <summary>A roster out of CSV packages, laid one over the other in the order of their time: a bulk file replaces what came before, a
/// delta file changes it row by row. A walk over a collection of which no bulk file is at hand holds changes alone
/// (<see cref="WalkResult.Partial"/>).</summary>
/// <remarks>Rows are read as they are asked for; of a million people nothing is kept but hashes of keys and, in 1.2, 24 bytes a role.</remarks>
public sealed class CsvRosterSource : IRosterSource
{
    private const int PageSize = 1000;
    private readonly IReadOnlyList<CsvPackage> packages;
    private readonly string? revision;
    private readonly Func<bool>? changed;
    private RoleIndex? roles;

    /// <summary>Reads from packages.</summary>
    /// <param name="packages">In the order of their time, all of them usable. They are disposed with the source.</param>
    /// <param name="revision">Tells this state of the feed from others; null when it cannot be told.</param>
    /// <param name="changed">Whether the files were changed since they were checked.</param>
    /// <exception cref="ArgumentException">A package is to be refused.</exception>
    public CsvRosterSource(IReadOnlyList<CsvPackage> packages, string? revision = null, Func<bool>? changed = null)
    {
        ArgumentNullException.ThrowIfNull(packages);
        if (packages.FirstOrDefault(p => !p.IsUsable) is { } refused)
        {
            throw new ArgumentException($"The package {refused.Name} is refused.", nameof(packages));
        }

        this.packages = packages;
        this.revision = revision;
        this.changed = changed;
    }

    /// <summary>The packages.</summary>
    public IReadOnlyList<CsvPackage> Packages => packages;

    /// <summary>Who is not among the people is gone.</summary>
    public bool HasAllPeople => Steps(CsvFile.Users) is [{ Part.Mode: CsvMode.Bulk }, ..];

    /// <summary>Persons of whom the roles are all told, and not only those that changed.</summary>
    public bool HasAllRoles => Steps(CsvFile.Roles) is not { Count: > 0 } steps || steps[0].Part.Mode == CsvMode.Bulk;

    /// <inheritdoc/>
    public Task<string?> RevisionAsync(CancellationToken cancellationToken = default) => Task.FromResult(revision);

    /// <inheritdoc/>
    public ICollectionWalk<Org> Orgs() => new Walk<Org>(this, CsvFile.Orgs, (t, _) => new OrgRows(t).Read);

    /// <inheritdoc/>
    public ICollectionWalk<AcademicSession> AcademicSessions() =>
        new Walk<AcademicSession>(this, CsvFile.AcademicSessions, (t, _) => new SessionRows(t).Read);

    /// <inheritdoc/>
    public ICollectionWalk<Class> Classes() => new Walk<Class>(this, CsvFile.Classes, (t, _) => new ClassRows(t).Read);

    /// <inheritdoc/>
    public ICollectionWalk<User> Users() => new Walk<User>(this, CsvFile.Users, (t, number) => Rows(t, number).Read);

    /// <inheritdoc/>
    public ICollectionWalk<Enrollment> Enrollments() =>
        new Walk<Enrollment>(this, CsvFile.Enrollments, (t, _) => new EnrollmentRows(t).Read);

    /// <inheritdoc/>
    public ICollectionWalk<Demographics> Demographics() =>
        new Walk<Demographics>(this, CsvFile.Demographics, (t, _) => new DemographicsRows(t).Read);

    /// <summary>People of whom a <c>roles.csv</c> (1.2) says something, by their <c>sourcedId</c>, with the roles it names.</summary>
    public IEnumerable<(string User, IReadOnlyList<UserRole> Roles)> RolesByUser()
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var index = Roles();
        foreach (var (package, part, _) in Steps(CsvFile.Roles))
        {
            using var table = package.Open(part);
            var user = table.Column("userSourcedId");
            while (table.Read())
            {
                var id = table.Key(user).ToString();
                if (!Blank.Is(id) && seen.Add(id))
                {
                    yield return (id, index.Of(id, ended: false));
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var package in packages)
        {
            package.Dispose();
        }
    }

    /// <summary>1.2's roles decide, also over a role that was left in users.csv. A file of 1.1 to which they came later has its own of those whom
    /// they do not name.</summary>
    private UserRows Rows(CsvTable table, int number)
    {
        var (has, steps) = (table.Has("role"), Steps(CsvFile.Roles));
        return has && steps.Count == 0
            ? new UserRows(table, null, HasAllRoles)
            : new UserRows(table, Roles(), HasAllRoles, own: has && steps[0].Number > number);
    }

    private readonly record struct Step(CsvPackage Package, CsvPart Part, int Number);

    /// <summary>The files to read for a collection: the last bulk one and what came after it, else all that there are.</summary>
    private List<Step> Steps(CsvFile file)
    {
        var steps = new List<Step>();
        for (var i = 0; i < packages.Count; i++)
        {
            if (packages[i].Part(file) is { } part)
            {
                if (part.Mode == CsvMode.Bulk)
                {
                    steps.Clear();
                }

                steps.Add(new Step(packages[i], part, i));
            }
        }

        return steps;
    }

    /// <summary>Keys of the files after each step: their rows replace the earlier ones.</summary>
    private static List<IdSet?> Replaced(List<Step> steps)
    {
        var result = new IdSet?[steps.Count];
        IdSet? later = null;
        for (var i = steps.Count - 1; i > 0; i--)
        {
            later ??= new IdSet();
            using var table = steps[i].Package.Open(steps[i].Part);
            var id = table.Column("sourcedId");
            var status = table.Column("status");
            while (table.Read())
            {
                if (Words.Status(table.Value(status)) is not null)
                {
                    later.Add(IdSet.Hash(table.Key(id)));
                }
            }

            // One set serves all earlier steps only if it holds no more than what comes after each; copies are small, deltas are.
            result[i - 1] = later;
            if (i > 1)
            {
                later = later.Copy();
            }
        }

        return [.. result];
    }

    private RoleIndex Roles()
    {
        if (roles is not null)
        {
            return roles;
        }

        var index = new RoleIndex();
        var steps = Steps(CsvFile.Roles);
        var replaced = Replaced(steps);
        for (var i = 0; i < steps.Count; i++)
        {
            using var table = steps[i].Package.Open(steps[i].Part);
            var winners = Winners(steps[i]);
            index.Take(table, steps[i].Part, replaced[i], winners);
        }

        index.Sort();
        return roles = index;
    }

    /// <summary>The rows that count where a key stands on several: the later date, else the last.</summary>
    private static Dictionary<ulong, long>? Winners(Step step)
    {
        if (step.Part.Duplicates.Count == 0)
        {
            return null;
        }

        var best = new Dictionary<ulong, (long Row, DateTimeOffset Time)>();
        using var table = step.Package.Open(step.Part);
        var (id, time, status) = (table.Column("sourcedId"), table.Column("dateLastModified"), table.Column("status"));
        while (table.Read())
        {
            var hash = IdSet.Hash(table.Key(id));
            if (!step.Part.Duplicates.Contains(hash) || (step.Part.Mode == CsvMode.Delta && Words.Status(table.Value(status)) is null))
            {
                continue;
            }

            CsvValue.TryTime(table.Value(time), out var modified, out _);
            if (!best.TryGetValue(hash, out var before) || modified >= before.Time)
            {
                best[hash] = (table.Row, modified);
            }
        }

        return best.ToDictionary(b => b.Key, b => b.Value.Row);
    }

    private sealed class Walk<T>(CsvRosterSource source, CsvFile file, Func<CsvTable, int, Func<T>> open) : ICollectionWalk<T>
        where T : RosterRecord
    {
        private WalkResult? result;
        private int started;

        public WalkResult Result => result ?? throw new InvalidOperationException("The walk has not reached its end.");

        public async IAsyncEnumerable<RosterPage<T>> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            if (Interlocked.Exchange(ref started, 1) != 0)
            {
                throw new InvalidOperationException("A walk is enumerated once.");
            }

            var steps = source.Steps(file);
            var replaced = Replaced(steps);
            long rows = 0,
                duplicates = 0;
            for (var i = 0; i < steps.Count; i++)
            {
                var (part, later, winners) = (steps[i].Part, replaced[i], Winners(steps[i]));
                using var table = steps[i].Package.Open(part);
                var (id, status) = (table.Column("sourcedId"), table.Column("status"));
                var read = open(table, steps[i].Number);
                var page = new List<T>(PageSize);
                while (Guarded(table))
                {
                    rows++;
                    if (part.Mode == CsvMode.Delta && Words.Status(table.Value(status)) is null)
                    {
                        continue;
                    }

                    if (later is not null || winners is not null)
                    {
                        var hash = IdSet.Hash(table.Key(id));
                        if (later?.Contains(hash) == true || (winners?.TryGetValue(hash, out var row) == true && row != table.Row))
                        {
                            duplicates++;
                            continue;
                        }
                    }

                    page.Add(read());
                    if (page.Count == PageSize)
                    {
                        cancellationToken.ThrowIfCancellationRequested();
                        yield return Page(page, rows, steps);
                        page = new List<T>(PageSize);
                    }
                }

                if (page.Count > 0)
                {
                    yield return Page(page, rows, steps);
                }
            }

            if (source.changed?.Invoke() == true)
            {
                throw Changed();
            }

            var partial = steps.Count == 0 || steps[0].Part.Mode != CsvMode.Bulk;
            result = new WalkResult
            {
                NotShared = rows == 0,
                Partial = partial,
                Rows = rows,
                Duplicates = duplicates,
                UnreadableRows = steps.Sum(s => s.Part.DoubtfulRows),
                RowsShifted = steps.Any(s => s.Part.Contradicted),
                Revision = source.revision,
            };
            await Task.CompletedTask;
        }

        private static RosterPage<T> Page(List<T> records, long rows, List<Step> steps) =>
            new()
            {
                Attempt = 1,
                Records = records,
                RowsSoFar = rows,
                Total = steps.Sum(s => s.Part.Rows),
            };

        /// <summary>The files were read to their end once already; whatever fails now has changed since.</summary>
        private static bool Guarded(CsvTable table)
        {
            try
            {
                return table.Read();
            }
            catch (Exception e) when (e is CsvSyntaxException or IOException)
            {
                throw Changed(e);
            }
        }

        private static RosterException Changed(Exception? inner = null) =>
            new(
                RosterFault.Incomplete,
                "The CSV files changed while they were being read: a transfer is probably at work. Nothing was taken over; run the sync again when it is over.",
                inner
            );
    }
}
