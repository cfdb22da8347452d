using System.CommandLine;
using System.Diagnostics;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Sync.Person;
using Spectre.Console;

namespace Rollcall.Server.Commands;

/// <summary>Runs an operation to its end under the eyes of whoever typed the command, and tells what came of it.</summary>
internal sealed class OperationRunner
{
    private readonly long _began = Stopwatch.GetTimestamp();
    private readonly Terminal _terminal;
    private readonly bool _json;

    private OperationRunner(Terminal terminal, bool json)
    {
        _terminal = terminal;
        _json = json;
    }

    /// <summary>Makes an operation, works on it or follows it, and reports.</summary>
    /// <param name="result">The command as typed.</param>
    /// <param name="terminal">Where to report.</param>
    /// <param name="kind">What it is, for the report of a failure before it exists.</param>
    /// <param name="start">Makes or wakes the operation.</param>
    /// <param name="cancellationToken">Parks it.</param>
    /// <param name="known">The operation that the command is about; null when it makes a new one.</param>
    public static async Task<int> RunAsync(
        ParseResult result,
        Terminal terminal,
        OperationKind kind,
        Func<Session, District, Task<long>> start,
        CancellationToken cancellationToken,
        long? known = null
    )
    {
        var runner = new OperationRunner(terminal, result.GetValue(GlobalOptions.Json));
        Session? session = null;
        District? district = null;
        long? id = null;
        try
        {
            session = await Session.OpenAsync(result, terminal, cancellationToken);
            district = await session.DistrictAsync(cancellationToken);
            using var telemetry = session.IsRemote ? null : Watch.Watching.OfCommand(terminal);
            id = terminal.Follow ?? await start(session, district);
            terminal.Watcher?.Began(id.Value);
            var operation = await runner.WatchAsync(session, district, id.Value, cancellationToken);
            await runner.ReportAsync(operation);
            if (!runner._json && operation.Kind == OperationKind.Undo)
            {
                await runner.SayStoppedAsync(session, district);
            }

            return OperationText.ExitCodeOf(operation.Status);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested && id is not null)
        {
            return await runner.ParkedAsync(session!, district!, id.Value);
        }
        catch (Exception e) when (e is not UsageException)
        {
            var about = id is null && known is { } number && district is not null ? await AboutAsync(session!, district, number) : null;
            return await runner.FailedAsync(kind, id, about, e);
        }
        finally
        {
            if (session is not null)
            {
                await session.DisposeAsync();
            }
        }
    }

    /// <summary>After an undo nothing runs by itself: whoever took a run back is told so, and how it goes on.</summary>
    private async Task SayStoppedAsync(Session session, District district)
    {
        if (
            await session.Get<IntegrationService>().EnabledAsync(district.Id) is { } row
            && IntegrationService.SettingsOf(row).Daily is { At: not null, StoppedBecause: { } why }
        )
        {
            await _terminal.Out.WriteLineAsync(
                Terminal.Plain(
                    $"Daily Operations have stopped. {why} To resume them: rollcall {IntegrationWords.Verb(row.Kind)} schedule --resume"
                )
            );
        }
    }

    /// <summary>What a command was refused about stands as it stood; null when there is no such operation.</summary>
    private static async Task<Operation?> AboutAsync(Session session, District district, long id)
    {
        try
        {
            return await session.Get<OperationQueue>().GetAsync(district.Id, id, CancellationToken.None);
        }
        catch (RollcallException)
        {
            return null;
        }
    }

    /// <summary>The kind of operation that a command reports on; null for commands with a report of their own.</summary>
    /// <param name="path">The command's verbs: the last alone may be another's, too.</param>
    public static OperationKind? KindOf(string path) =>
        path switch
        {
            "sync" or "operation approve" or "operation continue" => OperationKind.FullSync,
            "patron import" => OperationKind.Import,
            "operation undo" or "review reopen" => OperationKind.Undo,
            "patron remove" => OperationKind.Remove,
            "patron erase" => OperationKind.Erase,
            "retention run" => OperationKind.Retention,
            "patron set-all" => OperationKind.Edit,
            _ => null,
        };

    private double Seconds => Stopwatch.GetElapsedTime(_began).TotalSeconds;

    private async Task<Operation> WatchAsync(Session session, District district, long id, CancellationToken cancellationToken)
    {
        var follower = session.Get<OperationFollower>();
        return _terminal.Watcher is { } watcher ? await follower.FollowAsync(district.Id, id, watcher.Report, cancellationToken)
            : _terminal.ErrorIsTerminal
                ? await ProgressBar.ShowAsync(_terminal, report => follower.RunAsync(district.Id, id, report, cancellationToken))
            : await follower.RunAsync(district.Id, id, new ProgressLines(_terminal, TimeProvider.System).Report, cancellationToken);
    }

    private async Task ReportAsync(Operation operation)
    {
        if (_json)
        {
            await JsonText.WriteAsync(_terminal, OperationResult.Of(operation, Seconds));
        }

        if (operation.Status is OperationStatus.Failed or OperationStatus.Cancelled or OperationStatus.Superseded)
        {
            var error = operation.Error ?? OperationText.Status(operation.Status);
            await CommandLine.WriteErrorAsync(_terminal, $"{OperationQueue.Title(operation)}, operation {operation.Id}: {error}");
        }
        else if (!_json)
        {
            var text = _terminal.Out;
            await text.WriteLineAsync(
                $"{OperationQueue.Title(operation)}, operation {operation.Id}: {OperationText.Ended(operation.Status)} {Seconds:0.0} s."
            );
            if (operation.Kind == OperationKind.PersonSync)
            {
                _terminal.WritePairs(PersonOptions.Of(operation).Steps.Select(s => (s.Name, (string?)s.Text)));
            }

            await OperationText.WriteSummaryAsync(text, operation);
        }
    }

    private async Task<int> ParkedAsync(Session session, District district, long id)
    {
        var operation = await session.Get<OperationQueue>().GetAsync(district.Id, id, CancellationToken.None);
        var message = operation.Status switch
        {
            OperationStatus.Waiting =>
                $"Interrupted. Operation {id} is parked and nothing is half-written: a running server or {(IsNextSyncs(operation) ? "the next 'rollcall sync'" : $"'rollcall operation continue {id}'")} goes on with it; 'rollcall operation cancel {id}' drops it.",
            OperationStatus.Running =>
                $"Interrupted. Operation {id} goes on in the process that works on it; 'rollcall operation show {id}' tells how far it is.",
            _ => $"Interrupted. Operation {id} had ended: {OperationText.Status(operation.Status)}.",
        };
        if (_json)
        {
            await JsonText.WriteAsync(_terminal, OperationResult.Of(operation, Seconds) with { Error = message });
        }

        await CommandLine.WriteErrorAsync(_terminal, message);
        return ExitCode.Failed;
    }

    /// <summary>Who asks for the same again gets this one, as long as it has not come to writing.</summary>
    private static bool IsNextSyncs(Operation operation) =>
        operation is { Kind: OperationKind.FullSync, PreviewOnly: false, Planned: false };

    private async Task<int> FailedAsync(OperationKind kind, long? id, Operation? about, Exception e)
    {
        var error = e is OperationCanceledException ? "Interrupted." : CommandLine.Sentence(e);
        var problems = e is Patrons.ImportRefusedException { Problems.Count: > 0 } refused ? refused.Problems : null;
        if (_json)
        {
            await JsonText.WriteAsync(
                _terminal,
                about is null
                    ? OperationResult.FailedBefore(kind, Seconds, error) with
                    {
                        Operation = id,
                        Problems = problems,
                    }
                    : OperationResult.Of(about, Seconds) with
                    {
                        Error = error,
                    }
            );
        }
        else if (e is Patrons.ImportRefusedException { BesideProblems: { } beside } many)
        {
            // The whole list is a result, for a file or a pager; the error stays one line, and says nothing twice.
            foreach (var problem in many.Problems)
            {
                await _terminal.Out.WriteLineAsync(Terminal.Plain(problem));
            }

            error = beside;
        }

        await CommandLine.WriteErrorAsync(_terminal, error);

        return e is RollcallException { IsOfValue: true } ? ExitCode.Usage : ExitCode.Failed;
    }
}

/// <summary>Progress in a terminal.</summary>
internal static class ProgressBar
{
    public static Task<T> ShowAsync<T>(Terminal terminal, Func<Action<OperationStage, string?, long, long>, Task<T>> work)
    {
        var speed = new PaceColumn();
        return terminal
            .Progress.Progress()
            .AutoClear(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new CountColumn(), speed, new ElapsedTimeColumn())
            .StartAsync(async context =>
            {
                var task = context.AddTask("Waiting");
                task.IsIndeterminate = true;
                return await work(
                    (stage, text, done, total) =>
                    {
                        speed.Report(stage, text, done, total);
                        task.Description = Markup.Escape(
                            text ?? (stage == OperationStage.Waiting ? "Waiting for its turn" : stage.ToString())
                        );
                        task.IsIndeterminate = total <= 0;
                        task.MaxValue = total > 0 ? total : double.MaxValue;
                        task.Value = done;
                    }
                );
            });
    }

    private sealed class PaceColumn : ProgressColumn
    {
        private readonly Pace _pace = new(TimeProvider.System);
        private volatile string _words = "";

        public void Report(OperationStage stage, string? text, long done, long total)
        {
            _pace.Report(stage, text, done);
            _words = Pace.Words(_pace.Rate, done, total) ?? "";
        }

        public override Spectre.Console.Rendering.IRenderable Render(
            Spectre.Console.Rendering.RenderOptions options,
            ProgressTask task,
            TimeSpan deltaTime
        ) => new Text(_words);
    }

    private sealed class CountColumn : ProgressColumn
    {
        public override Spectre.Console.Rendering.IRenderable Render(
            Spectre.Console.Rendering.RenderOptions options,
            ProgressTask task,
            TimeSpan deltaTime
        ) =>
            new Text(
                task.Value <= 0 ? ""
                : task.IsIndeterminate ? OperationText.N((long)task.Value)
                : $"{OperationText.N((long)task.Value)} of {OperationText.N((long)task.MaxValue)}"
            );
    }
}

/// <summary>Progress where a program or a log reads it: a line now and then, and none in a short run.</summary>
internal sealed class ProgressLines(Terminal terminal, TimeProvider time)
{
    private static readonly TimeSpan s_every = TimeSpan.FromSeconds(10);
    private readonly Lock _gate = new();
    private readonly Pace _pace = new(time);
    private long _last = time.GetTimestamp();

    public void Report(OperationStage stage, string? text, long done, long total)
    {
        lock (_gate)
        {
            _pace.Report(stage, text, done);
            if (time.GetElapsedTime(_last) < s_every)
            {
                return;
            }

            _last = time.GetTimestamp();
            terminal.Error.WriteLine(
                $"{text ?? stage.ToString()}: {OperationText.N(done)}{(total > 0 ? $" of {OperationText.N(total)}" : "")}{(Pace.Words(_pace.Rate, done, total) is { } words ? $", {words}" : "")}"
            );
        }
    }
}
