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
    /// <summary>The files that commands name.</summary>
    public IFiles Files { get; init; } = DiskFiles.Instance;

    /// <summary>Who sent the command over the API; null when it was typed on this machine.</summary>
    public RemoteCaller? Caller { get; init; }

    /// <summary>Whoever follows the command from elsewhere; null when this process shows what it does.</summary>
    public IWatcher? Watcher { get; init; }

    /// <summary>The operation that this command started before, over a connection that broke: it is followed and nothing is started. Null starts.</summary>
    public long? Follow { get; init; }

    /// <summary>The width of the window that <see cref="Out"/> is shown in, and whether it knows escapes; null asks this process's own.</summary>
    public (int Width, bool Ansi)? Window { get; init; }

    /// <summary>Wide enough that no table wraps where a program reads it.</summary>
    private const int Unlimited = 10_000;

    /// <summary>A column that wraps is still readable.</summary>
    private const int LeastColumn = 24;

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
    public IAnsiConsole Tables => field ??= Make(Out, OutIsTerminal, Window);

    /// <summary>For progress bars.</summary>
    public IAnsiConsole Progress => field ??= Make(Error, ErrorIsTerminal);

    /// <summary>A table for people. Cells are texts, never markup: they hold what other systems sent. Where the window is too narrow,
    /// the widest column wraps, and where that does not do, each row becomes a list.</summary>
    public void WriteTable(IReadOnlyList<string> headers, IEnumerable<IReadOnlyList<string?>> rows, params int[] rightAligned)
    {
        var cells = rows.Select(r => r.Select(Plain).ToArray()).ToList();
        var widths = headers.Select((h, i) => Math.Max(Width(h), cells.Count == 0 ? 0 : cells.Max(r => Width(r[i])))).ToArray();
        var lines = (headers.Count * 3) + 1;
        var widest = Array.IndexOf(widths, widths.Max());
        var room = Tables.Profile.Width - lines;
        if (OutIsTerminal && widths.Sum() > room && widths.Sum() - widths[widest] + LeastColumn > room)
        {
            for (var i = 0; i < cells.Count; i++)
            {
                if (i > 0)
                {
                    Out.WriteLine();
                }

                var row = cells[i];
                WritePairs(headers.Select((h, at) => (h, (string?)row[at])));
            }

            return;
        }

        var table = new Table().Border(OutIsTerminal ? TableBorder.Rounded : TableBorder.None);
        for (var i = 0; i < headers.Count; i++)
        {
            var column = new TableColumn(new Text(headers[i], new Style(decoration: Decoration.Bold))) { NoWrap = i != widest };
            if (!OutIsTerminal)
            {
                column.Padding = new Padding(0, 0, 2, 0);
            }

            table.AddColumn(rightAligned.Contains(i) ? column.RightAligned() : column);
        }

        foreach (var row in cells)
        {
            table.AddRow(row.Select(c => (IRenderable)new Text(c)));
        }

        Write(table);
    }

    /// <summary>Names and their values, one pair a line; without those that have none.</summary>
    public void WritePairs(IEnumerable<(string Name, string? Value)> pairs)
    {
        var grid = new Grid().AddColumn(new GridColumn().NoWrap().PadRight(3)).AddColumn();
        foreach (var (name, value) in pairs.Where(p => !string.IsNullOrEmpty(p.Value)))
        {
            grid.AddRow(new Text(name), new Text(Plain(value)));
        }

        Write(grid);
    }

    private void Write(IRenderable what)
    {
        if (OutIsTerminal)
        {
            Tables.Write(what);
            return;
        }

        // No blanks at the ends of lines: they make every diff and every comparison of outputs dirty.
        using var text = new StringWriter();
        Make(text, false).Write(what);
        foreach (var line in text.ToString().TrimEnd().Split('\n'))
        {
            Out.WriteLine(line.TrimEnd());
        }
    }

    private int Width(string text) => ((IRenderable)new Text(text)).Measure(RenderOptions.Create(Tables), Unlimited).Max;

    /// <summary>A text that cannot steer the terminal it is shown on.</summary>
    public static string Plain(string? text) =>
        text is null ? ""
        : text.Any(char.IsControl) ? new string([.. text.Select(c => char.IsControl(c) ? ' ' : c)])
        : text;

    private static IAnsiConsole Make(TextWriter writer, bool isTerminal, (int Width, bool Ansi)? window = null)
    {
        var console = AnsiConsole.Create(
            new AnsiConsoleSettings
            {
                Out = new AnsiConsoleOutput(writer),
                Ansi =
                    !isTerminal ? AnsiSupport.No
                    : window is null ? AnsiSupport.Detect
                    : window.Value.Ansi ? AnsiSupport.Yes
                    : AnsiSupport.No,
                ColorSystem = isTerminal && window is null ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
                Interactive = isTerminal ? InteractionSupport.Detect : InteractionSupport.No,
            }
        );
        if (!isTerminal)
        {
            console.Profile.Width = Unlimited;
        }
        else if (window is { } its)
        {
            console.Profile.Width = its.Width;
        }
        else if (Console.WindowWidth is > 0 and var width)
        {
            console.Profile.Width = width;
        }

        return console;
    }
}
