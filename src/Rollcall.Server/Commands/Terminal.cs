using System.Text;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Rollcall.Server.Commands;

/// <summary>Where a command writes to and takes its surroundings from: the process, or a test.</summary>
/// <param name="Out">Results, and nothing else.</param>
/// <param name="Error">Errors and progress.</param>
/// <param name="In">What a file named "-" holds.</param>
/// <param name="Variable">An environment variable; null when it is not set.</param>
/// <param name="OutIsTerminal">A person reads <paramref name="Out"/>.</param>
/// <param name="ErrorIsTerminal">A person reads <paramref name="Error"/>.</param>
internal sealed record Terminal(
    TextWriter Out,
    TextWriter Error,
    Func<Stream> In,
    Func<string, string?> Variable,
    bool OutIsTerminal,
    bool ErrorIsTerminal
)
{
    /// <summary>Wide enough that no table wraps where a program reads it.</summary>
    private const int Unlimited = 10_000;

    public static Terminal OfProcess()
    {
        // A sync may print a hundred thousand lines: they are not flushed one by one unless somebody watches.
        var utf8 = new UTF8Encoding(false);
        var isTerminal = !Console.IsOutputRedirected;
        var output = new StreamWriter(Console.OpenStandardOutput(), utf8, 1 << 16) { AutoFlush = isTerminal };
        var error = new StreamWriter(Console.OpenStandardError(), utf8) { AutoFlush = true };
        return new Terminal(
            output,
            error,
            Console.OpenStandardInput,
            Environment.GetEnvironmentVariable,
            isTerminal,
            !Console.IsErrorRedirected
        );
    }

    /// <summary>For tables.</summary>
    public IAnsiConsole Tables => field ??= Make(Out, OutIsTerminal);

    /// <summary>For progress bars.</summary>
    public IAnsiConsole Progress => field ??= Make(Error, ErrorIsTerminal);

    /// <summary>A table for people. Cells are texts, never markup: they hold what other systems sent.</summary>
    public void WriteTable(IReadOnlyList<string> headers, IEnumerable<IReadOnlyList<string?>> rows, params int[] rightAligned)
    {
        var table = new Table().Border(OutIsTerminal ? TableBorder.Rounded : TableBorder.None);
        for (var i = 0; i < headers.Count; i++)
        {
            var column = new TableColumn(new Text(headers[i], new Style(decoration: Decoration.Bold)));
            table.AddColumn(rightAligned.Contains(i) ? column.RightAligned() : column);
        }

        foreach (var row in rows)
        {
            table.AddRow(row.Select(c => (IRenderable)new Text(Plain(c))));
        }

        Tables.Write(table);
    }

    /// <summary>Names and their values, one pair a line.</summary>
    public void WritePairs(IEnumerable<(string Name, string? Value)> pairs)
    {
        var grid = new Grid().AddColumn(new GridColumn().NoWrap().PadRight(3)).AddColumn();
        foreach (var (name, value) in pairs)
        {
            grid.AddRow(new Text(name), new Text(Plain(value)));
        }

        Tables.Write(grid);
    }

    /// <summary>A text that cannot steer the terminal it is shown on.</summary>
    public static string Plain(string? text) =>
        text is null ? ""
        : text.Any(char.IsControl) ? new string([.. text.Select(c => char.IsControl(c) ? ' ' : c)])
        : text;

    private static IAnsiConsole Make(TextWriter writer, bool isTerminal)
    {
        var console = AnsiConsole.Create(
            new AnsiConsoleSettings
            {
                Out = new AnsiConsoleOutput(writer),
                Ansi = isTerminal ? AnsiSupport.Detect : AnsiSupport.No,
                ColorSystem = isTerminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
                Interactive = isTerminal ? InteractionSupport.Detect : InteractionSupport.No,
            }
        );
        if (!isTerminal)
        {
            console.Profile.Width = Unlimited;
        }
        else if (Console.WindowWidth is > 0 and var width)
        {
            console.Profile.Width = width;
        }

        return console;
    }
}
