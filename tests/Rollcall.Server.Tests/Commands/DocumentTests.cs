using System.CommandLine;
using System.Text;
using System.Text.RegularExpressions;
using Rollcall.Server.Commands;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

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

    [Theory]
    [InlineData("README.md")]
    [InlineData("docs/running.md")]
    [InlineData("docs/api.md")]
    public async Task Every_command_that_a_page_shows_is_one(string page)
    {
        var lines = (await File.ReadAllLinesAsync(Path.Combine(Root(), page), TestContext.Current.CancellationToken))
            .Select(l => Regex.Match(l, @"^    (?:[A-Z_]+=\S+ )*rollcall (?<args>[^()|]+)$"))
            .Where(m => m.Success)
            .Select(m => m.Groups["args"].Value.Split(" # ")[0].Split(" && ")[0].TrimEnd())
            .ToList();
        Assert.NotEmpty(lines);
        foreach (var line in lines)
        {
            // Numbers stand for those that the reader has.
            var words = Regex.Matches(line, "\"[^\"]*\"|\\S+").Select(m => m.Value.Trim('"')).Select(w => w == "ID" ? "7" : w);
            var result = CommandLine.Parse(Terminal.OfProcess(), [.. words]);
            Assert.True(result.Errors.Count == 0, $"rollcall {line}: {string.Join(' ', result.Errors.Select(e => e.Message))}");
        }
    }

    /// <summary>A server warns of variables that it does not know, and so has to know all that the guide names.</summary>
    [Fact]
    public async Task The_guide_names_every_setting_and_no_other()
    {
        var text = await File.ReadAllTextAsync(Path.Combine(Root(), "docs", "running.md"), TestContext.Current.CancellationToken);
        var named = Regex
            .Matches(text, @"^\| (?<names>`[^|]+) \|", RegexOptions.Multiline)
            .SelectMany(m => Regex.Matches(m.Groups["names"].Value, "ROLLCALL_[A-Z_]+"))
            .Select(m => m.Value);
        Assert.Equal(GlobalOptions.Variables.Order(StringComparer.Ordinal), named.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task The_tables_of_rights_are_the_server_s_own()
    {
        var path = Path.Combine(Root(), "docs", "permissions.md");
        var text = await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken);
        var written = Replaced(Replaced(text, "pages", PagesWritten()), "routes", RoutesWritten());
        if (Environment.GetEnvironmentVariable("ROLLCALL_WRITE_DOCS") == "true")
        {
            await File.WriteAllTextAsync(path, written, TestContext.Current.CancellationToken);
            return;
        }

        // When this differs: run this test once with ROLLCALL_WRITE_DOCS=true and look at the change.
        Assert.Equal(written, text);

        static string Replaced(string text, string name, string written)
        {
            var begin = $"<!-- {name}: written by the test, do not edit -->";
            var at = text.IndexOf(begin, StringComparison.Ordinal) + begin.Length;
            var end = text.IndexOf($"<!-- end of {name} -->", StringComparison.Ordinal);
            Assert.True(at >= begin.Length && end > at);
            return $"{text[..at]}\n{written}{text[end..]}";
        }
    }

    /// <summary>What stands against a threat is shown by a test: one that was renamed or removed shows nothing.</summary>
    [Theory]
    [InlineData("asvs.md")]
    [InlineData("threat-model.md")]
    public async Task What_the_tables_of_defences_name_is_there(string page)
    {
        var stop = TestContext.Current.CancellationToken;
        var lines = await File.ReadAllLinesAsync(Path.Combine(Root(), "docs", page), stop);
        var (tests, program) = (await CodeAsync("tests"), await CodeAsync("src"));
        var shown = 0;
        foreach (var name in lines.SelectMany(l => Regex.Matches(l, "`(?<name>[^`]+)`")).Select(m => m.Groups["name"].Value).Distinct())
        {
            var begin = name.Split('…')[0];
            if (IsTest(name))
            {
                Assert.True(IsThere(name), $"There is no test {name}");
                shown++;
            }
            else if (Regex.IsMatch(begin, @"^[A-Z][a-z]+[A-Za-z]*(?:\.[A-Z][A-Za-z]+)*$"))
            {
                // Types and members that are said to do something.
                Assert.True(Regex.IsMatch(program, $@"\b{begin.Split('.')[^1]}\b"), $"The program has no {name}");
            }
        }

        Assert.InRange(shown, 20, 1000);

        // Every threat names a test that shows what stands against it; the head and the line below it do not.
        var table = lines.SkipWhile(l => !l.StartsWith("| threat |", StringComparison.Ordinal)).TakeWhile(l => l.StartsWith('|')).Skip(2);
        foreach (var threat in table)
        {
            var cells = threat.Split(" | ");
            Assert.True(
                Regex.Matches(cells[^1], "`(?<name>[^`]+)`").Any(m => IsTest(m.Groups["name"].Value)),
                $"Nothing shows what stands against: {cells[0]}"
            );
        }

        static bool IsTest(string name) =>
            Regex.IsMatch(name.Split('…')[0], "^[A-Z]+[a-z]*(?:_[A-Za-z0-9]+)+$|^[A-Za-z]+Tests$")
            && !name.StartsWith("ROLLCALL_", StringComparison.Ordinal);

        // A name that is long is cut: what is left begins one, and what comes after the cut ends it.
        bool IsThere(string name) =>
            name.EndsWith("Tests", StringComparison.Ordinal)
                ? Regex.IsMatch(tests, $@"class {name}\b")
                : Regex.IsMatch(tests, $@"\b{name.Replace("…", @"\w*", StringComparison.Ordinal)}\(");

        static async Task<string> CodeAsync(string folder)
        {
            var text = new StringBuilder();
            foreach (var file in Directory.EnumerateFiles(Path.Combine(Root(), folder), "*.cs", SearchOption.AllDirectories))
            {
                if (!file.Contains("/obj/", StringComparison.Ordinal))
                {
                    text.AppendLine(await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken));
                }
            }

            return text.ToString();
        }
    }

    /// <summary>Every page and what can be done on it, in the column of the least group that may.</summary>
    private static string PagesWritten()
    {
        (Need Need, string Head)[] columns =
        [
            (Need.Anyone, "nobody signed in"),
            (Need.SignedIn, "anybody signed in"),
            (Need.PatronLimited, "Patron"),
            (Need.StudentAide, "Student Aide"),
            (Need.Librarian, "Librarian"),
            (Need.LibraryAdministrator, "Library Administrator"),
            (Need.DistrictAdministrator, "District Administrator"),
            (Need.Operator, "operator"),
        ];
        var text = new StringBuilder();
        text.Append($"| page | {string.Join(" | ", columns.Select(c => c.Head))} |\n|---|{string.Concat(columns.Select(_ => "---|"))}\n");
        var pages = Access
            .Routes.Where(r => Access.ScopeOf(r) is null)
            .Select(r => (Page: r.Split(' ')[0], What: r.Split(' ')[1], Need: Access.Of(r)!.Value))
            .GroupBy(r => r.Page, StringComparer.Ordinal)
            .OrderBy(p => p.Key.TrimStart('/'), StringComparer.OrdinalIgnoreCase);
        foreach (var page in pages)
        {
            var cells = columns.Select(c =>
                string.Join(", ", page.Where(r => r.Need == c.Need).Select(r => What(r.What)).Distinct().Order(StringComparer.Ordinal))
            );
            text.Append($"| {page.Key[1..]} | {string.Join(" | ", cells)} |\n");
        }

        return text.ToString();

        // A handler's name in words: PostSecondFactorOff is "second factor off".
        static string What(string handler) =>
            handler is "Get" or "*" ? "look"
            : handler == "Post" ? "save"
            : string.Join(
                    ' ',
                    Regex
                        .Matches(handler[(handler.StartsWith("Post", StringComparison.Ordinal) ? 4 : 3)..], "[A-Z][a-z]*")
                        .Select(m => m.Value)
                )
                .ToLowerInvariant();
    }

    private static string RoutesWritten()
    {
        var text = new StringBuilder("| address | scope | least group |\n|---|---|---|\n");
        foreach (
            var (route, scope) in Access
                .Routes.Select(r => (Route: r, Scope: Access.ScopeOf(r)))
                .Where(r => r.Scope is not null)
                .OrderBy(r => r.Route.Split(' ')[0], StringComparer.Ordinal)
        )
        {
            var parts = route.Split(' ');
            var words =
                scope == TokenScopes.None ? "any"
                : scope == AccessTokens.AllOfDistrict ? "all of a district"
                : string.Join(", ", AccessTokens.Words.Where(w => scope!.Value.HasFlag(w.Scope)).Select(w => $"`{w.Word}`"));
            var group = Access.Of(route) switch
            {
                Need.Operator => "operator",
                Need.LibraryAdministrator => "Library Administrator",
                Need.DistrictAdministrator => "District Administrator",
                _ => "any",
            };
            text.Append($"| `{parts[1].ToUpperInvariant()} {parts[0]}` | {words} | {group} |\n");
        }

        return text.ToString();
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

        // What OpenTelemetry's library reads by itself is set by tests alone.
        var table = (await File.ReadAllLinesAsync(Path.Combine(Root(), "docs", "running.md"), TestContext.Current.CancellationToken))
            .Where(l => l.StartsWith("| `", StringComparison.Ordinal))
            .SelectMany(l => Regex.Matches(l.Split(" | ")[0], "`(?<name>(ROLLCALL|OTEL)_[A-Z_]+)`"))
            .Select(m => m.Groups["name"].Value)
            .ToList();
        Assert.InRange(table.Count, 15, 60);
        Assert.Equal(table.Count, table.Distinct(StringComparer.Ordinal).Count());
        Assert.Empty(table.Except(read));
        var set = await NamedAsync("deploy", "*", "");
        Assert.InRange(set.Count, 4, 20);
        Assert.Empty(set.Except(read));
    }

    /// <summary>What the code measures, under the names that Prometheus is shown, and what the page for whoever watches promises.</summary>
    [Fact]
    public async Task Every_metric_is_documented_and_no_other()
    {
        var measured = new List<string>();
        foreach (var file in Directory.GetFiles(Path.Combine(Root(), "src"), "*.cs", SearchOption.AllDirectories))
        {
            var text = await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken);
            measured.AddRange(
                Regex
                    .Matches(
                        text,
                        @"\.Create(?<kind>[A-Z][A-Za-z]+)(?:<[a-z]+>)?\(\s*""(?<name>rollcall\.[a-z_.]+)""(?<rest>.*?)\);\r?\n",
                        RegexOptions.Singleline
                    )
                    .Select(m =>
                        m.Groups["name"].Value.Replace('.', '_')
                        + (
                            Regex.IsMatch(m.Groups["rest"].Value, "\"s\"") ? "_seconds"
                            : Regex.IsMatch(m.Groups["rest"].Value, "\"By\"") ? "_bytes"
                            : ""
                        )
                        + (m.Groups["kind"].Value == "Counter" ? "_total" : "")
                    )
            );
        }

        var lines = await File.ReadAllLinesAsync(Path.Combine(Root(), "docs", "running.md"), TestContext.Current.CancellationToken);
        var documented = lines
            .Where(l => l.StartsWith("| `rollcall_", StringComparison.Ordinal))
            .SelectMany(l => Regex.Matches(l.Split(" | ")[0], "`(?<name>rollcall_[a-z_]+)"))
            .Select(m => m.Groups["name"].Value);
        Assert.InRange(measured.Count, 10, 60);
        Assert.Equal(measured.Order(StringComparer.Ordinal), documented.Order(StringComparer.Ordinal));

        // An alarm on a metric that is not there never goes off.
        Assert.Empty(
            lines
                .Where(l => l.StartsWith("    ", StringComparison.Ordinal))
                .SelectMany(l => Regex.Matches(l, "rollcall_(?!web)[a-z_]+").Select(m => m.Value))
                .Except(measured, StringComparer.Ordinal)
        );
    }

    [Fact]
    public async Task Whatever_is_typed_unseen_on_a_page_is_known_as_a_secret()
    {
        var names = new List<string>();
        foreach (
            var file in Directory.GetFiles(Path.Combine(Root(), "src", "Rollcall.Server", "Pages"), "*.cshtml", SearchOption.AllDirectories)
        )
        {
            var text = await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken);
            names.AddRange(
                Regex
                    .Matches(text, "<input[^>]*type=\"password\"[^>]*>")
                    .Select(input => Regex.Match(input.Value, " name=\"([^\"]+)\"").Groups[1].Value)
            );
        }

        Assert.InRange(names.Count, 10, 100);
        Assert.All(names, name => Assert.True(Rollcall.Server.Pages.Parts.SentForm.IsSecret(name), $"'{name}' would be kept in a page"));
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

    internal static string Root()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Rollcall.slnx")))
        {
            folder = Path.GetDirectoryName(folder.TrimEnd(Path.DirectorySeparatorChar))!;
        }

        return folder;
    }
}
