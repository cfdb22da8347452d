using System.CommandLine;
using System.Text;
using System.Text.RegularExpressions;
using Rollcall.Server.Commands;

namespace Rollcall.Server.Tests.Commands;

/// <summary>The reference of the command line is written from the real tree of verbs, so that it cannot go stale.</summary>
public sealed class DocumentTests
{
    private const string Begin = "<!-- verbs: written by the test, do not edit -->";
    private const string End = "<!-- end of verbs -->";

    [Fact]
    public async Task The_reference_has_every_verb_and_option_as_they_are()
    {
        var path = Path.Combine(Root(), "docs", "command-line.md");
        var text = await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken);
        var begin = text.IndexOf(Begin, StringComparison.Ordinal) + Begin.Length;
        var end = text.IndexOf(End, StringComparison.Ordinal);
        Assert.True(begin >= Begin.Length && end > begin);
        var written = "\n" + Written();
        if (Environment.GetEnvironmentVariable("ROLLCALL_WRITE_DOCS") == "true")
        {
            await File.WriteAllTextAsync(path, text[..begin] + written + text[end..], TestContext.Current.CancellationToken);
            return;
        }

        // When this differs: run this test once with ROLLCALL_WRITE_DOCS=true and look at the change.
        Assert.Equal(written, text[begin..end]);
    }

    [Fact]
    public async Task Every_setting_is_documented_and_deployed_files_set_no_other()
    {
        async Task<HashSet<string>> NamedAsync(string folder, string pattern, string before) =>
            [
                .. (
                    await Task.WhenAll(
                        Directory
                            .GetFiles(Path.Combine(Root(), folder), pattern, SearchOption.AllDirectories)
                            .Where(f =>
                                !f.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}", StringComparison.Ordinal)
                            )
                            .Select(f => File.ReadAllTextAsync(f, TestContext.Current.CancellationToken))
                    )
                ).SelectMany(text => Regex.Matches(text, before + "((ROLLCALL|OTEL)_[A-Z_]+)").Select(m => m.Groups[1].Value)),
            ];

        var read = await NamedAsync("src", "*.cs", "\"");
        Assert.InRange(read.Count, 15, 60);
        Assert.Empty(read.Except(await NamedAsync("docs", "*.md", "`")));
        var set = await NamedAsync("deploy", "*", "");
        Assert.InRange(set.Count, 4, 20);
        Assert.Empty(set.Except(read));
    }

    [Fact]
    public async Task Every_verb_argument_and_option_says_what_it_is()
    {
        await using var cli = await Cli.OpenAsync();
        foreach (var (path, command) in All("rollcall", CommandLine.Build(NoTerminal())))
        {
            Assert.False(string.IsNullOrWhiteSpace(command.Description), path);
            Assert.All(command.Arguments, a => Assert.False(string.IsNullOrWhiteSpace(a.Description), $"{path} {a.Name}"));
            Assert.All(command.Options, o => Assert.False(string.IsNullOrWhiteSpace(o.Description), $"{path} {o.Name}"));
            var help = await cli.RunAsync([.. path.Split(' ').Skip(1), "--help"]);
            Assert.Equal(0, help.Code);
            Assert.Contains(command.Description!, help.Out.ReplaceLineEndings(" "), StringComparison.Ordinal);
        }
    }

    private static string Written()
    {
        var text = new StringBuilder();
        foreach (var (path, command) in All("rollcall", CommandLine.Build(NoTerminal())).Where(c => c.Command.Subcommands.Count == 0))
        {
            text.Append($"\n### {path}\n\n");
            text.Append($"    {path}");
            foreach (var argument in command.Arguments)
            {
                text.Append($" {argument.Name}{(argument.Arity.MaximumNumberOfValues > 1 ? " ..." : "")}");
            }

            foreach (var option in command.Options.Where(o => o.Name != "--help"))
            {
                var usage = option.ValueType == typeof(bool) ? option.Name : $"{option.Name} {Value(option)}";
                text.Append(option.Required ? $" {usage}" : $" [{usage}]");
            }

            text.Append($"\n\n{command.Description}.\n");
            if (command.Arguments.Count + command.Options.Count > 0)
            {
                text.Append('\n');
            }

            foreach (var argument in command.Arguments)
            {
                text.Append($"- `{argument.Name}`: {argument.Description}\n");
            }

            foreach (var option in command.Options.Where(o => o.Name != "--help"))
            {
                text.Append($"- `{string.Join("`, `", option.Aliases.Prepend(option.Name))}`: {option.Description}\n");
            }
        }

        return text.Append('\n').ToString();
    }

    private static string Value(Option option) => option.HelpName ?? option.Name.TrimStart('-').ToUpperInvariant();

    private static IEnumerable<(string Path, Command Command)> All(string path, Command command)
    {
        yield return (path, command);
        foreach (var child in command.Subcommands.SelectMany(c => All($"{path} {c.Name}", c)))
        {
            yield return child;
        }
    }

    private static Terminal NoTerminal() => new(TextWriter.Null, TextWriter.Null, () => Stream.Null, _ => null, false, false);

    private static string Root()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Rollcall.slnx")))
        {
            folder = Path.GetDirectoryName(folder.TrimEnd(Path.DirectorySeparatorChar))!;
        }

        return folder;
    }
}
