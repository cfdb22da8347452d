using System.Globalization;
using System.Text;
using CsCheck;
using Rollcall.Patrons;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>Patrons from and to files.</summary>
public sealed class PatronFileTests(PostgresCluster postgres)
{
    private static async Task<Cli> LibraryAsync(PostgresCluster? postgres = null)
    {
        var cli = await Cli.OpenAsync(postgres);
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        await cli.OkAsync("site", "add", "NORTH", "--name", "North High", "--next-barcode", "N00001");
        return cli;
    }

    private static Task<Ran> ImportAsync(Cli cli, string content) => cli.OkAsync("patron", "import", cli.File("in.csv", content), "--json");

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task One_persons_data_is_written_out_and_erased_when_it_is_said_twice(bool onPostgres)
    {
        await using var cli = await LibraryAsync(onPostgres ? postgres : null);
        await ImportAsync(cli, "barcode,lastName,firstName,site\nA1001,Byron,Ada,NORTH\nA1002,Carver,Ben,NORTH\n");
        Assert.Contains("Byron", (await cli.OkAsync("patron", "data", "a1001")).Out, StringComparison.Ordinal);
        var shown = await cli.RunAsync("patron", "erase", "A1001");
        Assert.Equal(2, shown.Code);
        Assert.Contains("The patron's record", shown.Out, StringComparison.Ordinal);
        Assert.Contains("--yes erases", shown.Error, StringComparison.Ordinal);
        Assert.Equal("Byron, Ada", (await cli.RunAsync("patron", "erase", "A1001", "--json")).Word("name"));
        var file = Path.Combine(cli.Data, "ada.json");
        var erased = await cli.OkAsync("patron", "erase", "A1001", "--yes", "--export", file, "--json");
        Assert.Equal(("erase", 1L), (erased.Word("kind"), erased.Number("removed")));
        Assert.Contains("Byron", await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken), StringComparison.Ordinal);
        await cli.RefusedAsync(1, "Nothing is kept under that", "patron", "erase", "A1001", "--yes");
        Assert.Contains("Carver", (await cli.OkAsync("patron", "list")).Out, StringComparison.Ordinal);
        Assert.Contains(
            "final",
            (await cli.RunAsync("operation", "undo", $"{erased.Number("operation")}")).Error,
            StringComparison.Ordinal
        );
        if (onPostgres)
        {
            await cli.RefusedAsync(1, "nothing to do", "db", "compact");
        }
        else
        {
            Assert.True((await cli.OkAsync("db", "compact", "--json")).Number("bytes") > 0);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_is_exported_and_imported_again_changes_nothing(bool onPostgres)
    {
        await using var cli = await LibraryAsync(onPostgres ? postgres : null);
        string[] nasty =
        [
            "=1+1",
            "'=1+1",
            "''@x",
            "-5",
            "- x",
            "+1 555 0100",
            "@home",
            "'quoted'",
            "'",
            "\"",
            "a,b;c",
            "a\tb",
            "–dash",
            "＝full",
            "田中 太郎",
            "O’Neil",
            "'-5",
            "0012",
        ];
        var csv = new StringBuilder("barcode,lastName,notes,phone,site\n");
        for (var i = 0; i < nasty.Length; i++)
        {
            csv.Append(CultureInfo.InvariantCulture, $"A{i + 100},Name{i},,,NORTH\n");
        }

        await ImportAsync(cli, csv.ToString());
        for (var i = 0; i < nasty.Length; i++)
        {
            await cli.OkAsync("patron", "set", $"A{i + 100}", $"lastName={nasty[i]}", $"notes={nasty[i]}", $"phone={nasty[i]}");
        }

        var before = (await cli.OkAsync("patron", "list", "--json")).Out;
        var file = Path.Combine(cli.Data, "out.csv");
        await cli.OkAsync("patron", "export", "-o", file);
        foreach (var line in await File.ReadAllLinesAsync(file, TestContext.Current.CancellationToken))
        {
            Assert.DoesNotContain(",=", line, StringComparison.Ordinal);
            Assert.DoesNotContain(",@", line, StringComparison.Ordinal);
        }

        var again = await cli.OkAsync("patron", "import", file, "--json");
        Assert.Equal(nasty.Length, again.Number("unchanged"));
        Assert.Equal(0, again.Number("updated"));
        Assert.Equal(before, (await cli.OkAsync("patron", "list", "--json")).Out);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_export_is_an_operation_that_says_who_took_whom_and_nothing_undoes(bool onPostgres)
    {
        await using var cli = await LibraryAsync(onPostgres ? postgres : null);
        await ImportAsync(cli, "barcode,lastName,site\nA100,Foo,NORTH\nA101,Bar,NORTH\nA102,Elsewhere,\n");
        await cli.OkAsync("patron", "export", "-o", Path.Combine(cli.Data, "all.csv"));
        await cli.OkAsync("patron", "export", "--format", "jsonl", "--site", "north", "--status", "Active");
        await cli.OkAsync("patron", "remove", "A102", "--export", Path.Combine(cli.Data, "gone.csv"), "--preview");
        var exports = (await cli.OkAsync("operation", "list", "--json"))
            .Json.EnumerateArray()
            .Where(o => o.GetProperty("kind").GetString() == "export")
            .Select(o => (Id: o.GetProperty("operation").GetInt64(), Read: o.GetProperty("read").GetInt64()))
            .OrderBy(o => o.Id)
            .ToList();
        Assert.Equal([3, 2, 1], exports.Select(e => e.Read));
        var shown = await cli.OkAsync("operation", "show", $"{exports[1].Id}", "--json");
        Assert.Equal("completed", shown.Word("status"));
        var options = shown.Json.GetProperty("options");
        Assert.Equal("standard output", options.GetProperty("file").GetString());
        Assert.Equal("of North High, with the status Active", options.GetProperty("which").GetString());
        Assert.Contains("gone.csv", (await cli.OkAsync("operation", "show", $"{exports[2].Id}", "--json")).Out, StringComparison.Ordinal);
        Assert.Contains("3 patrons exported.", (await cli.OkAsync("operation", "show", $"{exports[0].Id}")).Out, StringComparison.Ordinal);
        Assert.Equal("[]\n", (await cli.OkAsync("operation", "log", $"{exports[0].Id}", "--json")).Out);
        await cli.RefusedAsync(1, "changed no patron", "operation", "undo", $"{exports[0].Id}");
    }

    [Fact]
    public void The_guard_comes_off_whatever_the_text() =>
        Gen.String[Gen.Char["'=+-@\t\r1a. ＝"], 0, 6]
            .Sample(text =>
            {
                var cell = PatronWords.CsvCell(text);
                var read = cell.StartsWith('"') ? cell[1..^1].Replace("\"\"", "\"", StringComparison.Ordinal) : cell;
                return PatronWords.Unguard(read) == text;
            });

    [Theory]
    [InlineData("utf-8-mark")]
    [InlineData("utf-16le")]
    [InlineData("utf-16be")]
    [InlineData("windows-1252")]
    public async Task Encodings_of_spreadsheets_are_read(string name)
    {
        await using var cli = await LibraryAsync();
        const string text = "Barcode\tLast Name\r\nA100\tMüller\r\n";
        byte[] bytes = name switch
        {
            "utf-8-mark" => [0xEF, 0xBB, 0xBF, .. Encoding.UTF8.GetBytes(text)],
            "utf-16le" => [0xFF, 0xFE, .. Encoding.Unicode.GetBytes(text)],
            "utf-16be" => [0xFE, 0xFF, .. Encoding.BigEndianUnicode.GetBytes(text)],
            _ => Encoding.Latin1.GetBytes(text),
        };
        await cli.OkAsync("patron", "import", cli.File("in.csv", bytes));
        Assert.Equal("Müller", (await cli.OkAsync("patron", "show", "A100", "--json")).Word("lastName"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_file_with_mistakes_is_refused_as_a_whole_and_all_are_told(bool onPostgres)
    {
        await using var cli = await LibraryAsync(onPostgres ? postgres : null);
        await ImportAsync(cli, "barcode,lastName\nA100,Kept\n");
        var file = cli.File(
            "in.csv",
            "barcode,lastName,birthdate,site\nB100,Good,2012-01-31,NORTH\nB101,Foo,2000-99-01,NORTH\nB102,Foo,,NOPE\nB103,Bar\nB104,,,NORTH\nb100,Twice,,\n7,Low,,\nA100,Changed,,\n"
        );
        var ran = await cli.RunAsync("patron", "import", file, "--json");
        Assert.Equal(1, ran.Code);
        var problems = ran.Json.GetProperty("problems").EnumerateArray().Select(p => p.GetString()!).ToList();
        foreach (var row in (int[])[3, 4, 5, 6, 7, 8])
        {
            Assert.Contains(problems, p => p.StartsWith($"Row {row}", StringComparison.Ordinal));
        }

        Assert.Equal(6, problems.Count);

        // In the order of the file, and each once.
        Assert.Equal([3, 4, 5, 6, 7, 8], problems.Select(p => int.Parse(p.Split(' ')[1].TrimEnd(':'), CultureInfo.InvariantCulture)));
        var said = await cli.RunAsync("patron", "import", file);
        Assert.Equal(problems, said.Out.TrimEnd('\n').Split('\n'));
        Assert.DoesNotContain("Row ", said.Error, StringComparison.Ordinal);
        await cli.RefusedAsync(1, "rows are broken", "patron", "import", file);
        var patrons = await cli.OkAsync("patron", "list", "--json");
        Assert.Equal("Kept", Assert.Single(patrons.Json.EnumerateArray()).GetProperty("lastName").GetString());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_line_that_begins_with_a_number_sign_is_a_line_like_any_other(bool onPostgres)
    {
        await using var cli = await LibraryAsync(onPostgres ? postgres : null);
        var ran = await cli.OkAsync(
            "patron",
            "import",
            cli.File("in.csv", "notes,barcode,lastName\n#1 reader,A100,One\n,A101,Two\n#2,A102,Three\n"),
            "--json"
        );
        Assert.Equal((3L, 3L), (ran.Number("read"), ran.Number("created")));
        Assert.Equal("#1 reader", (await cli.OkAsync("patron", "show", "A100", "--json")).Word("notes"));

        // A header is one, too.
        Assert.Equal(1, (await ImportAsync(cli, "#barcode,lastName\nA103,Four\n")).Number("created"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_word_that_says_no_or_unknown_is_no_blank(bool onPostgres)
    {
        await using var cli = await LibraryAsync(onPostgres ? postgres : null);
        await ImportAsync(cli, "barcode,lastName,doNotTransfer,sex\nA100,One,yes,F\nA101,Two,true,M\nA102,Three,yes,F\nA103,Four,,\n");
        var ran = await cli.OkAsync(
            "patron",
            "import",
            cli.File("in.csv", "barcode,doNotTransfer,sex\nA100,no,U\nA101,false,unknown\nA102,,\nA103,no,U\n"),
            "--json"
        );
        Assert.Equal((2L, 2L), (ran.Number("updated"), ran.Number("unchanged")));
        foreach (
            var (barcode, keeps, sex) in ((string, bool, string?)[])[("A100", false, null), ("A101", false, null), ("A102", true, "female")]
        )
        {
            var shown = (await cli.OkAsync("patron", "show", barcode, "--json")).Json;
            Assert.Equal((keeps, sex), (shown.GetProperty("doNotTransfer").GetBoolean(), shown.GetProperty("sex").GetString()));
        }

        // What was taken off comes back with an undo.
        await cli.OkAsync("operation", "undo", $"{ran.Number("operation")}");
        Assert.True((await cli.OkAsync("patron", "show", "A100", "--json")).Json.GetProperty("doNotTransfer").GetBoolean());
    }

    [Theory]
    [InlineData("barcode,lastName,wat\nA100,Foo,1\n", "Column 3 'wat' is not known.")]
    [InlineData("barcode,lastName,Last Name\nA100,Foo,1\n", "are both Last Name")]
    [InlineData("", "The file is empty")]
    [InlineData("  \n", "The file is empty")]
    [InlineData("barcode,lastName\n", "no patrons")]
    [InlineData("barcode,lastName\nA300,\"x\nA301,y\n", "quotation marks")]
    [InlineData("PK\u0003\u0004\0\0\0", "CSV UTF-8")]
    [InlineData("barcode,lastName\n1.23E+11,Foo\n", "Row 2: a spreadsheet has shortened Barcode to 1.23E+11")]
    [InlineData("barcode,communityId,lastName\nA100,\"1,2e+14\",Foo\n", "Row 2: a spreadsheet has shortened Student # to 1,2e+14")]
    [InlineData("lastName\nFoo\n", "needs a barcode, or a site that gives one")]
    public async Task Files_that_are_no_list_of_patrons_are_refused(string content, string says)
    {
        await using var cli = await LibraryAsync();
        await cli.RefusedAsync(1, says, "patron", "import", cli.File("in.csv", content));
        Assert.Equal("[]\n", (await cli.OkAsync("operation", "list", "--json")).Out);
    }

    [Fact]
    public async Task Rows_that_would_make_a_second_record_of_somebody_are_pointed_out()
    {
        await using var cli = await LibraryAsync();
        await cli.OkAsync("site", "add", "OAK", "--name", "Oak Hill, Middle");
        await cli.OkAsync(
            "patron",
            "import",
            cli.File("in.csv", "barcode,communityId,lastName,site\n00500187,101210,Dixon,\"oak hill, middle\"\n00500188,101211,Ellis,OAK\n")
        );
        Assert.Equal("OAK", (await cli.OkAsync("patron", "show", "00500187", "--json")).Word("site"));
        var file = cli.File(
            "again.csv",
            "barcode,communityId,lastName\nNEW-1,101210,Dixon\n500188,101299,Ellis\nNEW-2,7,Fox\nNEW-3,7,Fox\nNEW-4,8,Gray\n00500188,101211,Elliot\n"
        );
        var preview = await cli.RunAsync("patron", "import", file, "--preview", "--json");
        Assert.Equal((5L, 1L, 4L), (preview.Number("created"), preview.Number("updated"), preview.Number("warnings")));
        var log = (await cli.OkAsync("operation", "log", $"{preview.Number("operation")}")).Out;
        foreach (
            var says in new[]
            {
                "Student # 101210 is that of the patron 00500187 already: this row makes a second record",
                "The barcode 500188 is, but for leading zeros, that of the patron 00500188: this row makes a second record",
                "Student # 7 stands in another row of the file too",
                "Format the column as text",
            }
        )
        {
            Assert.Contains(says, log, StringComparison.Ordinal);
        }

        // Who is here is not made twice by it; and who gives a number up, in the same file, has it no more.
        var swap = cli.File("swap.csv", "barcode,communityId,lastName\n00500187,101211,Dixon\n00500188,101210,Ellis\n");
        var swapped = await cli.OkAsync("patron", "import", swap, "--preview", "--json");
        Assert.Equal((2L, 0L), (swapped.Number("updated"), swapped.Number("warnings")));
        var same = cli.File("same.csv", "barcode,communityId,lastName\n00500187,101211,Dixon\n");
        var shared = await cli.RunAsync("patron", "import", same, "--preview", "--json");
        Assert.Equal((1L, 1L), (shared.Number("updated"), shared.Number("warnings")));
        log = (await cli.OkAsync("operation", "log", $"{shared.Number("operation")}")).Out;
        Assert.Contains("Student # 101211 is that of the patron 00500188 already", log, StringComparison.Ordinal);
        Assert.Contains("Patrons would get a Student # that another patron has", log, StringComparison.Ordinal);
        Assert.DoesNotContain("second record", log, StringComparison.Ordinal);

        // Two people may have one number: whoever approves it gets it.
        await cli.RunAsync("operation", "approve", $"{preview.Number("operation")}");
        await cli.OkAsync("patron", "show", "NEW-1");
    }

    [Fact]
    public async Task A_file_without_barcodes_that_is_imported_again_is_pointed_out_row_by_row()
    {
        await using var cli = await LibraryAsync();
        await cli.OkAsync("site", "add", "OAK", "--name", "Oak Hill");
        var file = cli.File(
            "in.csv",
            "communityId,lastName,firstName,birthdate,site\n0042,Dixon,Ann,2012-03-04,OAK\n0043,Ellis,Bea,,OAK\n,Fox,Cy,2012-01-01,OAK\n"
        );
        await cli.OkAsync("patron", "import", file);
        var again = cli.File(
            "again.csv",
            "communityId,lastName,firstName,birthdate,site\n"
                // A spreadsheet took the zeros, a name alone, another birthdate, another number, another site, twice in the file.
                + "42,Dixon,Ann,2012-03-04,OAK\n,ellis,BEA,,OAK\n,Fox,Cy,2013-01-01,OAK\n77,Ellis,Bea,,OAK\n,Ellis,Bea,,NORTH\n"
                + ",Gray,Di,,OAK\n,Gray,Di,2011-01-01,OAK\n"
        );
        var preview = await cli.RunAsync("patron", "import", again, "--preview", "--json");
        await cli.OkAsync(
            "patron",
            "import",
            cli.File("card.csv", "barcode,lastName,site\nC1403,Hall,OAK\n01404,Hill,OAK\n1405,Hood,OAK\n")
        );

        var padded = await cli.RunAsync(
            "patron",
            "import",
            cli.File("padded.csv", "barcode,lastName,site\n0C1403,A,OAK\n1404,B,OAK\n00001405,C,OAK\n001404,D,OAK\n1406,E,OAK\n"),
            "--preview",
            "--json"
        );
        Assert.Equal((5L, 4L), (padded.Number("created"), padded.Number("warnings")));
        Assert.Equal((7L, 5L), (preview.Number("created"), preview.Number("warnings")));
        var log = (await cli.OkAsync("operation", "log", $"{preview.Number("operation")}")).Out;
        foreach (
            var says in new[]
            {
                "Student # 42 is, but for leading zeros, 0042 of the patron ",
                "has this name at this site already: if it is one person, this row makes a second record",
                "This name stands in another row of the file for this site too",
                "New patrons have the Student # of somebody who is here but for leading zeros",
                "New patrons have the name of a patron of their site",
                "Rows share their name and site with another row of the file",
            }
        )
        {
            Assert.Contains(says, log, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Files_that_cannot_be_used_are_named()
    {
        await using var cli = await LibraryAsync();
        await cli.RefusedAsync(1, "does not exist", "patron", "import", Path.Combine(cli.Data, "none.csv"));
        await cli.RefusedAsync(1, "is a folder", "patron", "import", cli.Data);
        await cli.RefusedAsync(1, "does not exist", "patron", "export", "-o", Path.Combine(cli.Data, "no", "x.csv"));
        await cli.RefusedAsync(1, "is a folder", "patron", "export", "-o", cli.Data);
        await cli.RefusedAsync(2, "--changed-since", "patron", "export", "--changed-since", "yesterday");
    }

    [Fact]
    public async Task A_preview_writes_nothing_until_it_is_approved()
    {
        await using var cli = await LibraryAsync();
        cli.In = Encoding.UTF8.GetBytes("lastName,site,1010\nFoo,north,05\n");
        var preview = await cli.OkAsync("patron", "import", "-", "--preview", "--json");
        Assert.Equal("preview", preview.Word("status"));
        Assert.Equal("[]\n", (await cli.OkAsync("patron", "list", "--json")).Out);
        var applied = await cli.OkAsync("operation", "approve", $"{preview.Number("operation")}", "--json");
        Assert.Equal("completed", applied.Word("status"));
        Assert.Equal("05", (await cli.OkAsync("patron", "show", "N00001", "--json")).Word("level"));
        await cli.RefusedAsync(1, "nothing of it waits", "operation", "approve", $"{preview.Number("operation")}");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_hundred_thousand_rows_are_taken(bool onPostgres)
    {
        await using var cli = await LibraryAsync(onPostgres ? postgres : null);
        var csv = new StringBuilder("barcode,lastName,site\n");
        for (var i = 0; i < 100_000; i++)
        {
            csv.Append(CultureInfo.InvariantCulture, $"B{i:D6},Name {i},NORTH\n");
        }

        // A slow machine gets lines of progress on standard error.
        var ran = await cli.RunAsync("patron", "import", cli.File("in.csv", csv.ToString()), "--json");
        Assert.Equal(0, ran.Code);
        Assert.Equal(100_000, ran.Number("created"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Removing_is_all_or_nobody_and_leaves_a_log(bool onPostgres)
    {
        await using var cli = await LibraryAsync(onPostgres ? postgres : null);
        await ImportAsync(cli, "barcode,lastName,firstName\nA100,One,Ann\nA101,Two,Bob\nA102,Three,Cy\n");
        await cli.RefusedAsync(1, "no patron with the barcode A999", "patron", "remove", "A100", "A999");
        await cli.OkAsync("patron", "remove", "A100", "--preview");
        Assert.Equal(3, (await cli.OkAsync("patron", "list", "--json")).Json.GetArrayLength());
        var file = Path.Combine(cli.Data, "gone.csv");
        var ran = await cli.OkAsync("patron", "remove", "a100", "A101", "A100", "--export", file, "--json");
        Assert.Equal(2, ran.Number("removed"));
        Assert.Equal(
            "A102",
            Assert.Single((await cli.OkAsync("patron", "list", "--json")).Json.EnumerateArray()).GetProperty("barcode").GetString()
        );
        var log = await cli.OkAsync("operation", "log", $"{ran.Number("operation")}", "--json");
        Assert.Equal(["One, Ann", "Two, Bob"], log.Json.EnumerateArray().Select(r => r.GetProperty("name").GetString()).Order());
        await cli.RefusedAsync(1, "no patron", "patron", "show", "A100");
        Assert.Equal(2, (await cli.OkAsync("patron", "import", file, "--json")).Number("created"));
        await cli.OkAsync("db", "check");
    }
}
