using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;
using Rollcall.Operations;
using Rollcall.Server.Commands;

namespace Rollcall.Server.Watch;

/// <summary>What a server lets its operator see, and how much it does at once.</summary>
/// <param name="Least">What is logged to standard error.</param>
/// <param name="JsonLogs">Logs are JSON, one object a line.</param>
/// <param name="MetricsUrl">Where metrics are asked for; null for nowhere.</param>
/// <param name="MetricsToken">What has to be known to ask for them; null when only this machine can.</param>
/// <param name="Export">Metrics and traces are sent to the collector that <c>OTEL_EXPORTER_OTLP_ENDPOINT</c> names.</param>
/// <param name="LeastFreeMegabytes">With less room than this where the data folder is, a node is not ready.</param>
/// <param name="AtOnce">How many operations it works on at once; null for what suits the database.</param>
internal sealed record Watching(
    LogLevel Least = LogLevel.Information,
    bool JsonLogs = false,
    string? MetricsUrl = null,
    string? MetricsToken = null,
    bool Export = false,
    long LeastFreeMegabytes = 256,
    int? AtOnce = null
)
{
    public const string MetricsUrlVariable = "ROLLCALL_METRICS_URL";
    private const string TokenVariable = "ROLLCALL_METRICS_TOKEN_FILE";
    private const string LogVariable = "ROLLCALL_LOG";
    private const string LevelVariable = "ROLLCALL_LOG_LEVEL";
    private const string ExportVariable = "OTEL_EXPORTER_OTLP_ENDPOINT";
    private const string FreeVariable = "ROLLCALL_LEAST_FREE_MB";
    private const string ParallelVariable = "ROLLCALL_PARALLEL";
    private const int LeastToken = 16;

    /// <exception cref="RollcallException">A setting is none, or would show metrics to strangers.</exception>
    public static Watching Read(string? metricsUrl, Terminal terminal)
    {
        string? Setting(string name) => GlobalOptions.Given(terminal.Variable(name))?.Trim();
        var url = metricsUrl ?? Setting(MetricsUrlVariable);
        var token = Token(Setting(TokenVariable));
        if (url is not null)
        {
            Listening.Check(url, "--metrics-url");
            if (token is null && !Listening.IsLoopback(url))
            {
                throw new RollcallException(
                    $"Metrics at {url} could be read from other computers. Store a token in a file and name it in {TokenVariable}, or listen on this computer alone: http://127.0.0.1:9464"
                );
            }
        }

        return new Watching(
            Level(Setting(LevelVariable)),
            Setting(LogVariable)?.ToLowerInvariant() switch
            {
                null or "text" => false,
                "json" => true,
                var other => throw new RollcallException($"{LogVariable} '{other}' is not possible: there is text and json."),
            },
            url,
            token,
            Setting(ExportVariable) is not null,
            Free(Setting(FreeVariable)),
            Number(Setting(ParallelVariable))
        );
    }

    /// <summary>How many operations are worked on at once. SQLite has one writer, and the night's districts would wait for each other.</summary>
    /// <exception cref="RollcallException">More than the database is for.</exception>
    public int Parallel(bool onPostgres) =>
        onPostgres ? AtOnce ?? 2
        : AtOnce is null or 1 ? 1
        : throw new RollcallException($"{ParallelVariable} is for PostgreSQL: on SQLite one operation is worked on after another.");

    private static int? Number(string? word) =>
        word is null ? null
        : int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number is >= 1 and <= 32 ? number
        : throw new RollcallException($"{ParallelVariable} '{word}' is not possible: write a number from 1 to 32.");

    public void Configure(IServiceCollection services)
    {
        services.Replace(ServiceDescriptor.Singleton(this));
        services.Configure<ConsoleLoggerOptions>(console =>
        {
            // Standard output is for results.
            console.LogToStandardErrorThreshold = LogLevel.Trace;
            console.FormatterName = JsonLogs ? JsonLog.FormatterName : TextLog.FormatterName;
        });
        services.AddLogging(logging =>
        {
            logging
                .AddFilter("Rollcall", Least)
                // What keeps a server from starting is told in one line, not as a stack trace beside it.
                .AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None);
            if (JsonLogs)
            {
                logging.AddConsoleFormatter<JsonLog, ConsoleFormatterOptions>();
            }
            else
            {
                logging.AddConsoleFormatter<TextLog, ConsoleFormatterOptions>();
            }
        });
        if (MetricsUrl is null && !Export)
        {
            return;
        }

        services.AddSingleton<Gauges>();
        var telemetry = services.AddOpenTelemetry().ConfigureResource(Name);
        telemetry.WithMetrics(metrics =>
        {
            metrics.AddMeter(
                OperationMeters.Name,
                "System.Net.Http",
                "System.Runtime",
                "Npgsql",
                "Microsoft.AspNetCore.Hosting",
                "Microsoft.AspNetCore.Server.Kestrel"
            );
            if (MetricsUrl is not null)
            {
                metrics.AddPrometheusExporter();
            }

            if (Export)
            {
                metrics.AddOtlpExporter();
            }
        });
        if (Export)
        {
            // Operations and their stages alone. Spans of pages and requests would carry addresses, and addresses carry people's numbers.
            telemetry.WithTracing(traces => traces.AddSource(OperationMeters.Name).AddOtlpExporter());
        }
    }

    private static void Name(ResourceBuilder resource) =>
        resource.AddService(
            Environment.GetEnvironmentVariable("OTEL_SERVICE_NAME") ?? "rollcall",
            serviceVersion: Pages.AboutModel.ProgramVersion,
            serviceInstanceId: $"{Environment.MachineName}:{Environment.ProcessId}"
        );

    /// <summary>Measures and traces what a command does in its own process, and sends it to the collector at the end: a sync from a timetable
    /// of the system's is a night like any other.</summary>
    /// <returns>What sends when it is disposed of; null when no collector is named.</returns>
    public static IDisposable? OfCommand(Terminal terminal)
    {
        if (GlobalOptions.Given(terminal.Variable(ExportVariable)) is null)
        {
            return null;
        }

        return new CommandTelemetry(
            Sdk.CreateMeterProviderBuilder()
                .ConfigureResource(Name)
                .AddMeter(OperationMeters.Name, "System.Net.Http", "Npgsql")
                .AddOtlpExporter()
                .Build(),
            Sdk.CreateTracerProviderBuilder().ConfigureResource(Name).AddSource(OperationMeters.Name).AddOtlpExporter().Build()
        );
    }

    private sealed class CommandTelemetry(MeterProvider metrics, TracerProvider traces) : IDisposable
    {
        public void Dispose()
        {
            metrics.Dispose();
            traces.Dispose();
        }
    }

    /// <summary>Roster services are not told how this installation traces itself.</summary>
    public static void KeepTracesHere() => DistributedContextPropagator.Current = DistributedContextPropagator.CreateNoOutputPropagator();

    private static string? Token(string? file)
    {
        if (file is null)
        {
            return null;
        }

        try
        {
            return File.ReadAllText(file).Trim() is { Length: >= LeastToken } token
                ? token
                : throw new RollcallException($"The token in {file} ({TokenVariable}) is too short: openssl rand -hex 24 makes one.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RollcallException($"The file of {TokenVariable} cannot be read: {e.Message}", e);
        }
    }

    private static LogLevel Level(string? word) =>
        word?.ToLowerInvariant() switch
        {
            null or "information" or "info" => LogLevel.Information,
            "debug" => LogLevel.Debug,
            "warning" => LogLevel.Warning,
            "error" => LogLevel.Error,
            _ => throw new RollcallException($"{LevelVariable} '{word}' is not possible: there is debug, information, warning and error."),
        };

    private const long MostFree = 1024 * 1024;

    private static long Free(string? megabytes) =>
        megabytes is null ? 256
        : long.TryParse(megabytes, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number <= MostFree ? number
        : throw new RollcallException(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{FreeVariable} '{megabytes}' is not possible: write a number of megabytes from 0 to {MostFree}."
            )
        );
}
