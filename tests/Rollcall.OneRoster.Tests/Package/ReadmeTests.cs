using System.Text.RegularExpressions;

namespace Rollcall.OneRoster.Tests.Package;

public sealed partial class ReadmeTests
{
    [Fact]
    public async Task The_examples_of_the_readme_are_those_that_are_compiled()
    {
        var readme = await ReadAsync("src", "Rollcall.OneRoster", "README.md");
        var source = await ReadAsync("tests", "Rollcall.OneRoster.Tests", "Package", "ReadmeExamples.cs");
        var examples = Example().Matches(source).Select(m => Outdented(m.Groups["code"].Value)).ToList();
        var shown = Block().Matches(readme).Select(m => m.Groups["code"].Value.TrimEnd()).ToList();
        Assert.NotEmpty(examples);
        Assert.Equal(examples, shown);
    }

    private static async Task<string> ReadAsync(params string[] path) =>
        (await File.ReadAllTextAsync(Path.Combine([Repository.Root, .. path]), TestContext.Current.CancellationToken)).ReplaceLineEndings(
            "\n"
        );

    private static string Outdented(string code)
    {
        var lines = code.TrimEnd().Split('\n');
        var blanks = lines.Where(l => l.Length > 0).Min(l => l.Length - l.TrimStart().Length);
        return string.Join('\n', lines.Select(l => l.Length > 0 ? l[blanks..] : l));
    }

    [GeneratedRegex(@"// README: (?!end)\w+\n(?<code>.*?)\n *// README: end", RegexOptions.Singleline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Example();

    [GeneratedRegex("```csharp\n(?<code>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Block();
}
