using Rollcall.Sandbox;
using Rollcall.Server.Commands;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>Wrong input and a world that does not answer: one line, an honest exit code, nothing half-written.</summary>
public sealed class RefusalTests(PostgresCluster postgres)
{
    private const string NoDatabase = "Host=127.0.0.1;Port=1;Username=x;Database=y";

    private static Task<SandboxServer> SandboxAsync() => SandboxServer.StartAsync(new SandboxOptions { Students = 40, Schools = 2 });

    [Fact]
    public async Task A_refused_connection_stores_nothing()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.OpenAsync();
        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        var good = cli.File("good.key", sandbox.Options.PartnerKey);
        var bad = cli.File("bad.key", "wrong");
        string[] Proxy(string tenant, string url, string key) =>
            ["classlink", "connect", "--tenant-id", tenant, "--proxy", url, "--partner-key-file", key];

        await cli.RefusedAsync(1, "partner key", Proxy("2284", origin, bad));
        await cli.RefusedAsync(1, "no ClassLink partner key", "classlink", "connect", "--tenant-id", "2284", "--proxy", origin);
        await cli.RefusedAsync(1, "no district 3999", Proxy(SandboxTenants.NeverAdded, origin, good));
        await cli.RefusedAsync(1, "enable", Proxy(SandboxTenants.Disabled, origin, good));
        await cli.RefusedAsync(2, "Tenant ID is a number", Proxy("abc", origin, good));
        await cli.RefusedAsync(1, "cannot be reached", Proxy("2284", "http://127.0.0.1:1", good));
        await cli.RefusedAsync(1, "address", Proxy("2284", "nonsense", good));
        await cli.RefusedAsync(1, "does not exist", Proxy("2284", origin, Path.Combine(cli.Data, "missing")));
        await cli.RefusedAsync(1, "is empty", Proxy("2284", origin, cli.File("empty", "")));
        await cli.RefusedAsync(2, "--secret-file", "classlink", "connect", "--tenant-id", "1", "--direct", origin, "--key", "k");
        await cli.RefusedAsync(1, "No roster is connected", "classlink", "test");
        Assert.Equal("off", (await cli.OkAsync("classlink", "show")).Out.Split('\n')[0].Split(' ')[^1]);

        await cli.OkAsync(Proxy("2284", origin, good));
        await cli.RefusedAsync(1, "partner key", Proxy("2284", origin, bad));
        await cli.OkAsync("classlink", "test");
        await cli.OkAsync("district", "add", "LAKE", "--name", "Lakeside");
        await cli.RefusedAsync(1, "used by another district", [.. Proxy("2284", origin, good), "--district", "LAKE"]);
    }

    [Fact]
    public async Task A_roster_is_asked_for_as_many_rows_at_once_as_the_setting_says()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        foreach (var wrong in new[] { "99", "10001", "many", "-5" })
        {
            cli.Variables["ROLLCALL_PAGE_SIZE"] = wrong;
            await cli.RefusedAsync(1, "ROLLCALL_PAGE_SIZE", "sync");
        }

        cli.Variables["ROLLCALL_PAGE_SIZE"] = "150";
        sandbox.ClearRequests();
        await cli.OkAsync("sync", "--json");
        var users = sandbox.Requests.Where(r => r.Collection == "users").ToList();
        Assert.NotEmpty(users);
        Assert.All(users, r => Assert.Contains("limit=150&", r.Query, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_roster_that_cannot_be_read_fails_the_sync_and_changes_nobody()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        await cli.OkAsync("sync", "--json");
        var before = (await cli.OkAsync("patron", "list", "--json")).Out;
        foreach (
            var (fault, says) in new[]
            {
                ("html", "web page"),
                ("no-array", "no list"),
                ("empty-users", "no users"),
                ("empty-orgs", "no orgs"),
                ("401", "credentials"),
                ("disabled-403", "switched"),
            }
        )
        {
            sandbox.Faults.Set(fault);
            var ran = await cli.RunAsync("sync", "--json");
            Assert.Equal(1, ran.Code);
            Assert.Equal("failed", ran.Word("status"));
            Assert.Contains(says, ran.Word("error"), StringComparison.Ordinal);
            Assert.Contains(says, Assert.Single(ran.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
        }

        sandbox.Faults.Set("duplicate-rows");
        await cli.OkAsync("sync");
        Assert.Equal(before, (await cli.OkAsync("patron", "list", "--json")).Out);
        sandbox.Faults.Set("malformed-user");
        Assert.Equal("completed-with-warnings", (await cli.OkAsync("sync", "--json")).Word("status"));
    }

    [Fact]
    public async Task A_sync_that_is_not_set_up_says_what_is_missing()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.OpenAsync();
        await cli.RefusedAsync(1, "district add", "sync");
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        await cli.RefusedAsync(1, "classlink connect", "sync");
        await cli.RefusedAsync(1, "Connect it first", "classlink", "on");
        await cli.ConnectAsync(sandbox);
        await cli.OkAsync("classlink", "on");
        var school = sandbox.District.Schools.First();
        await cli.RefusedAsync(1, "No site is matched", "sync");
        await cli.OkAsync("site", "add", "S1", "--name", school.Name);
        await cli.RefusedAsync(1, "no organization NOPE", "classlink", "match", "S1", "NOPE");
        await cli.RefusedAsync(1, "no site NOPE", "classlink", "match", "NOPE", school.SourcedId);
        await cli.OkAsync("classlink", "match", "S1", school.SourcedId);
        await cli.RefusedAsync(1, "no organization NOPE", "classlink", "not-served", "NOPE");
        await cli.RefusedAsync(1, "Unmatch it first", "classlink", "not-served", school.SourcedId);
        var other = sandbox.District.Schools.ElementAt(1).SourcedId;
        await cli.RefusedAsync(1, "Nobody said", "classlink", "not-served", other, "--undo");
        await cli.OkAsync("classlink", "not-served", other);
        Assert.Contains("(not served)", (await cli.OkAsync("classlink", "orgs")).Out, StringComparison.Ordinal);
        Assert.Contains("is served again", (await cli.OkAsync("classlink", "not-served", other, "--undo")).Out, StringComparison.Ordinal);
        Assert.DoesNotContain("(not served)", (await cli.OkAsync("classlink", "orgs")).Out, StringComparison.Ordinal);
        await cli.RefusedAsync(1, "roles", "sync");
        await cli.OkAsync("classlink", "roles", "student");
        await cli.OkAsync("sync");
    }

    [Theory]
    [InlineData(2, "--no-such", "sync", "--no-such")]
    [InlineData(2, "--person needs a value", "sync", "--person", "--json")]
    [InlineData(2, "--name needs a value", "site", "add", "S9", "--name", "--next-barcode", "1")]
    [InlineData(2, "--export needs a value", "patron", "remove", "X", "--export", "--yes")]
    [InlineData(2, "--data needs a value", "district", "list", "--data", "--json")]
    [InlineData(2, "--url is no address of a server", "account", "reset-password", "x@school.example", "--url", "library")]
    [InlineData(
        2,
        "--url is no address of a server",
        "account",
        "add",
        "x@school.example",
        "--group",
        "Operator",
        "--url",
        "ftp://library.example"
    )]
    [InlineData(2, "is no verb", "patron", "destroy")]
    [InlineData(2, "Say what to do", "patron")]
    [InlineData(2, "BARCODE", "patron", "show")]
    [InlineData(2, "'x' is no number", "operation", "show", "x")]
    [InlineData(2, "'x' of --limit is no number", "patron", "list", "--limit", "x")]
    [InlineData(2, "1 or more", "patron", "list", "--limit", "0")]
    [InlineData(2, "1 to 366 days", "token", "create", "X", "--scope", "all", "--days", "2147483647")]
    [InlineData(2, "1 to 366 days", "token", "create", "X", "--scope", "all", "--days", "-2147483648")]
    [InlineData(2, "days", "retention", "set", "--log-days", "2147483647")]
    [InlineData(1, "no operation 9223372036854775807", "operation", "show", "9223372036854775807")]
    [InlineData(2, "is no number", "operation", "show", "9223372036854775808")]
    [InlineData(1, "2147483647", "review", "ignore", "2147483647")]
    [InlineData(1, "9223372036854775807", "token", "revoke", "9223372036854775807")]
    [InlineData(2, "from 1 to", "sandbox", "--students", "2147483647")]
    [InlineData(2, "from 1 to", "sandbox", "--day", "2147483647")]
    [InlineData(2, "from 1 to", "demo", "--students", "2147483647")]
    [InlineData(1, "no site", "patron", "remove", "--site", "", "--yes")]
    [InlineData(2, "no status", "patron", "set-all", "--status", "", "notes=x")]
    [InlineData(2, "there is text, csv, jsonl", "operation", "log", "1", "--format", "pdf")]
    [InlineData(2, "FIELD=VALUE", "patron", "set", "A100", "level")]
    [InlineData(2, "no status", "patron", "list", "--status", "gone")]
    [InlineData(2, "teecher", "classlink", "roles", "teecher")]
    [InlineData(2, "cannot be mapped", "classlink", "map", "email", "none")]
    [InlineData(2, "--name", "district", "add", "X")]
    [InlineData(1, "no patron with the barcode", "patron", "show", "NOPE")]
    [InlineData(1, "no site NOPE", "patron", "list", "--site", "NOPE")]
    [InlineData(1, "no site NOPE", "site", "set", "NOPE", "--name", "x")]
    [InlineData(1, "no operation 99", "operation", "log", "99")]
    [InlineData(1, "no operation 99", "operation", "approve", "99")]
    [InlineData(2, "time zone", "district", "add", "X", "--name", "x", "--time-zone", "Mars/Base")]
    [InlineData(2, "end in a digit", "site", "add", "X", "--name", "x", "--next-barcode", "ABC")]
    [InlineData(1, "NOPE", "patron", "list", "--district", "NOPE")]
    public async Task What_is_written_wrongly_is_named(int code, string says, params string[] args)
    {
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        await cli.RefusedAsync(code, says, args);
    }

    /// <summary>A value that is none of its kind is written wrongly, whoever finds out: the parser, the command or what it calls.</summary>
    [Theory]
    [InlineData("district", "add", "A B", "--name", "x")]
    [InlineData("district", "add", "X", "--name", " ")]
    [InlineData("district", "add", "X", "--name", "x", "--time-zone", "Mars/Base")]
    [InlineData("district", "allow-tenant", "RIVER", "abc")]
    [InlineData("site", "add", "A B", "--name", "x")]
    [InlineData("site", "add", "X", "--name", "x", "--next-barcode", "ABC")]
    [InlineData("site", "add", "X", "--name", "x", "--group", "nobody")]
    [InlineData("site", "add", "X", "--name", "x", "--role-group", "nobody")]
    [InlineData("retention", "set", "--log-days", "0")]
    [InlineData("notice", "set", "--email", "office")]
    [InlineData("notice", "set", "--events", "sometimes")]
    [InlineData("notice", "set", "--webhook", "nonsense")]
    [InlineData("token", "create", "X", "--scope", "everything")]
    [InlineData("token", "create", "X", "--scope", "all", "--group", "nobody")]
    [InlineData("token", "create", "X", "--scope", "all", "--group", "Librarian")]
    [InlineData("token", "create", "X", "--scope", "all", "--days", "0")]
    [InlineData("token", "create", "X")]
    [InlineData("token", "create", "X", "--scope", "patrons:read,preferences:write")]
    [InlineData("account", "add", "somebody", "--group", "Librarian")]
    [InlineData("account", "add", "a@library.example", "--group", "nobody")]
    [InlineData("classlink", "roles", "teecher")]
    [InlineData("classlink", "map", "email", "none")]
    [InlineData("classlink", "map", "barcode", "nothing")]
    [InlineData("classlink", "map", "location", "homeroom:door")]
    [InlineData("classlink", "site-from", "anywhere")]
    [InlineData("classlink", "field", "odd", "--policy", "roster")]
    [InlineData("classlink", "field", "phone", "--policy", "odd")]
    [InlineData("classlink", "field", "phone", "--blank", "odd")]
    [InlineData("classlink", "threshold", "odd", "--percent", "1")]
    [InlineData("classlink", "threshold", "transfers", "--percent", "101")]
    [InlineData("classlink", "schedule", "--daily", "25:00")]
    [InlineData("classlink", "schedule", "--daily", "04:00", "--mode", "odd")]
    [InlineData("classlink", "schedule", "--pause", "yesterday", "tomorrow")]
    [InlineData("operation", "list", "--limit", "0")]
    [InlineData("operation", "log", "1", "--format", "pdf")]
    [InlineData("patron", "list", "--status", "gone")]
    [InlineData("patron", "list", "--limit", "0")]
    [InlineData("patron", "export", "--changed-since", "yesterday")]
    [InlineData("patron", "export", "--format", "pdf")]
    [InlineData("patron", "set", "A100", "level")]
    [InlineData("patron", "set", "A100", "odd=1")]
    [InlineData("patron", "set", "A100", "birthdate=someday")]
    [InlineData("patron", "set-all", "--status", "gone", "notes=x")]
    [InlineData("patron", "set-all", "--status", "Active", "odd=x")]
    [InlineData("patron", "set-all", "--status", "Active", "sex=odd", "--preview")]
    [InlineData("serve", "--urls", "nonsense")]
    [InlineData("serve", "--urls", ";")]
    [InlineData("serve", "--urls", "http://127.0.0.1:99999")]
    [InlineData("serve", "--urls", "http://127.0.0.1:-1")]
    [InlineData("serve", "--urls", "http://127.0.0.1:door")]
    [InlineData("serve", "--urls", "http://127.0.0.1:5080/library")]
    [InlineData("serve", "--metrics-url", "http://127.0.0.1:99999")]
    [InlineData("serve", "--urls", "https://127.0.0.1:5443")]
    [InlineData("serve", "--metrics-url", "https://127.0.0.1:9464")]
    [InlineData("serve", "--proxy-address", "elsewhere")]
    [InlineData("serve", "--proxy-address", "10.0.0.0/99")]
    [InlineData("patron", "list", "--token-file", "token")]
    [InlineData("serve", "--public-url", "library")]
    [InlineData("sandbox", "--students", "0")]
    [InlineData("sandbox", "--api", "oneroster-9")]
    [InlineData("demo", "--students", "0")]
    public async Task A_value_that_is_none_is_written_wrongly_wherever_that_is_found_out(params string[] args)
    {
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        await cli.OkAsync("patron", "import", cli.File("in.csv", "barcode,lastName\nA100,Foo\n"));
        var ran = await cli.RunAsync(args);
        Assert.True(ran.Code == 2, $"{ran.Code}: {ran.Out}{ran.Error}");
        Assert.StartsWith("error: ", Assert.Single(ran.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_to_be_a_number_and_is_none_is_written_wrongly_in_every_command()
    {
        await using var cli = await Cli.OpenAsync();
        var seen = 0;
        foreach (var (path, command) in Leaves("", CommandLine.Build(Terminal.OfProcess())))
        {
            var before = path.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            foreach (var option in command.Options.Where(o => IsNumber(o.ValueType)))
            {
                await IsRefusedAsync([.. before, option.Name, "many"]);
            }

            for (var i = 0; i < command.Arguments.Count; i++)
            {
                if (IsNumber(command.Arguments[i].ValueType))
                {
                    await IsRefusedAsync([.. before, .. Enumerable.Repeat("x", i), "many"]);
                }
            }
        }

        Assert.True(seen > 20, $"{seen}");

        static bool IsNumber(Type type) =>
            (Nullable.GetUnderlyingType(type) ?? type) is var t && (t == typeof(int) || t == typeof(long) || t == typeof(double));

        static IEnumerable<(string, System.CommandLine.Command)> Leaves(string path, System.CommandLine.Command command) =>
            command.Subcommands.Count == 0 ? [(path, command)] : command.Subcommands.SelectMany(c => Leaves($"{path} {c.Name}", c));

        async Task IsRefusedAsync(string[] args)
        {
            seen++;
            var ran = await cli.RunAsync(args);
            Assert.True(ran.Code == 2, $"{string.Join(' ', args)}: {ran.Code} {ran.Error}");
            Assert.Single(ran.Error.TrimEnd('\n').Split('\n'));
        }
    }

    [Fact]
    public async Task Discarded_operations_are_not_undone_and_one_patron_is_named_in_every_way()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        var preview = await cli.OkAsync("sync", "--preview", "--json");
        await cli.OkAsync("operation", "discard", $"{preview.Number("operation")}");
        await cli.RefusedAsync(1, "nothing to undo", "operation", "undo", $"{preview.Number("operation")}");

        var sync = (await cli.OkAsync("sync", "--json")).Number("operation");
        var patrons = (await cli.OkAsync("patron", "list", "--json")).Json.EnumerateArray().ToList();
        string Of(int patron, string field) => patrons[patron].GetProperty(field).GetString()!;
        string[] ways = [Of(0, "barcode"), $"barcode:{Of(1, "barcode")}", $"guid:{Of(2, "guid")}", Of(3, "guid")];
        foreach (var way in ways)
        {
            var undone = await cli.OkAsync("operation", "undo", $"{sync}", "--patron", way, "--json");
            Assert.Equal(1, undone.Number("removed"));
        }

        Assert.Equal(patrons.Count - ways.Length, (await cli.OkAsync("patron", "list", "--json")).Json.GetArrayLength());
        foreach (var gone in ways)
        {
            await cli.RefusedAsync(1, "no patron", "operation", "undo", $"{sync}", "--patron", gone);
        }
    }

    [Fact]
    public async Task An_id_type_that_nobody_has_is_mapped_and_warned_of()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        var mapped = await cli.RunAsync("classlink", "map", "barcode", "user-id:Nope");
        Assert.Equal(0, mapped.Code);
        Assert.Contains("user-id:Nope", mapped.Out, StringComparison.Ordinal);
        var warning = Assert.Single(mapped.Error.TrimEnd('\n').Split('\n'));
        Assert.Matches("^warning: of the first [0-9,]+ people of the roster nobody has an id of the type 'Nope'; there is ", warning);
        var there = warning.Split("there is ")[1].Split('.')[0].Split(", ")[0];
        await cli.OkAsync("classlink", "map", "barcode", $"user-id:{there}");

        // What cannot be asked is not waited for, and mapped all the same.
        sandbox.Faults.Set("401");
        await cli.OkAsync("classlink", "map", "barcode", "user-id:Nope");
    }

    [Fact]
    public async Task Tokens_are_listed_for_people_to_read()
    {
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend", "--time-zone", "America/New_York");
        await cli.OkAsync("token", "create", "Everything", "--scope", "all", "--group", "District Administrator");
        await cli.OkAsync("token", "create", "Catalogue", "--scope", "patrons:read");
        var list = (await cli.OkAsync("token", "list")).Out;
        Assert.Matches("Everything +District Administrator +all +", list);
        Assert.Matches(
            "Catalogue +Library Administrator +patrons:read +command line +[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} +never",
            list
        );
        await cli.RefusedAsync(
            2,
            "can do nothing with preferences:write: that needs the group District Administrator",
            "token",
            "create",
            "X",
            "--scope",
            "preferences:write"
        );
    }

    [Fact]
    public async Task A_support_bundle_that_cannot_be_written_whole_leaves_no_file()
    {
        await using var cli = await Cli.OpenAsync();
        var path = Path.Combine(cli.Data, "support.zip");
        var refused = await Assert.ThrowsAsync<RollcallException>(() =>
            SupportBundleCommand.WriteAsync(path, [("about", new FullDisk())], TestContext.Current.CancellationToken)
        );
        Assert.Contains("Make room", refused.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(path));
        await SupportBundleCommand.WriteAsync(path, [("about", new { Fine = true })], TestContext.Current.CancellationToken);

        // And nobody's file is taken for one of ours.
        await Assert.ThrowsAsync<RollcallException>(() => SupportBundleCommand.WriteAsync(path, [], TestContext.Current.CancellationToken));
        Assert.True(new FileInfo(path).Length > 0);
    }

    private sealed class FullDisk
    {
        public string Name => throw new IOException("No space left on device");
    }

    [Theory]
    [InlineData(false, "policy", "remove", "NOPE")]
    [InlineData(false, "account", "remove", "nobody@example.org")]
    [InlineData(false, "policy", "remove")]
    [InlineData(true, "patron", "remove", "NOPE")]
    [InlineData(true, "patron", "remove", "--no-such")]
    [InlineData(true, "operation", "undo", "99")]
    public async Task A_refusal_as_JSON_has_an_operations_numbers_only_where_the_command_reports_one(bool hasReport, params string[] args)
    {
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        var ran = await cli.RunAsync([.. args, "--json"]);
        Assert.NotEqual(0, ran.Code);
        Assert.NotEmpty(ran.Word("error")!);
        Assert.Equal(hasReport, ran.Json.TryGetProperty("kind", out _));
        Assert.Equal(hasReport, ran.Json.EnumerateObject().Count() > 1);
    }

    [Fact]
    public async Task A_database_that_is_not_there_is_named_and_not_made()
    {
        await using var cli = await Cli.OpenAsync(postgres);
        await cli.RefusedAsync(1, "cannot be reached", "sync", "--database", NoDatabase);
        await cli.RefusedAsync(1, "cannot be reached", "db", "migrate", "--database", NoDatabase);
        await cli.RefusedAsync(1, "'hst' is no option", "patron", "list", "--database", "Hst=x");
        await cli.RefusedAsync(1, "not readable", "patron", "list", "--database", "rollcall");
        var typo = new Npgsql.NpgsqlConnectionStringBuilder(await postgres.CreateDatabaseAsync()) { Database = "rolcall" }.ToString();
        await cli.RefusedAsync(1, "\"rolcall\" does not exist", "db", "migrate", "--database", typo);
        await cli.RefusedAsync(1, "\"rolcall\" does not exist", "district", "list", "--database", typo);
        var empty = new Npgsql.NpgsqlConnectionStringBuilder(typo) { Database = "template1" }.ToString();
        await cli.RefusedAsync(1, "rollcall db migrate", "district", "list", "--database", empty);
    }

    [Fact]
    public async Task A_connection_is_refused_by_the_name_that_it_was_written_with_and_a_failure_of_several_hosts_by_each()
    {
        await using var cli = await Cli.OpenAsync();
        Task<string> RefusedAsync(string says, string connection) =>
            cli.RefusedAsync(1, says, "district", "list", "--database", connection);
        await RefusedAsync("'sslmode' has a value that it cannot have", "postgres://u@127.0.0.1:1/x?sslmode=sometimes");
        await RefusedAsync("'gone' is no option of it", "postgres://u@127.0.0.1:1/x?gone=1");
        await RefusedAsync("wrong form", "postgres://u@127.0.0.1:door/x");
        await RefusedAsync("'Host' is missing", "Database=x");

        // Of one host there is nothing to choose: it is asked all the same.
        await RefusedAsync("cannot be reached", "Host=127.0.0.1;Port=1;Username=u;Database=x;Target Session Attributes=primary");
        await RefusedAsync("cannot be reached", "postgres://u@127.0.0.1:1/x?target_session_attrs=primary");
        var line = await RefusedAsync("any of its hosts", "Host=127.0.0.1,127.0.0.2;Port=1;Username=u;Database=x");
        Assert.Contains("127.0.0.1:1", line, StringComparison.Ordinal);
        Assert.Contains("127.0.0.2:1", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_switch_is_true_or_false_and_a_variable_that_there_is_none_of_is_known()
    {
        await using var cli = await Cli.OpenAsync();
        cli.Variables["ROLLCALL_REQUIRE_SECOND_FACTOR"] = "yes";
        await cli.RefusedAsync(1, "ROLLCALL_REQUIRE_SECOND_FACTOR 'yes'", "district", "list");
        cli.Variables["ROLLCALL_REQUIRE_SECOND_FACTOR"] = " FALSE ";
        await cli.OkAsync("district", "list");
        Assert.Equal(
            ["ROLLCALL_REQUIRE_SECONDFACTOR", "rollcall_data"],
            GlobalOptions.Unknown(["PATH", "rollcall_data", "ROLLCALL_DATA", "ROLLCALL_REQUIRE_SECONDFACTOR"])
        );
    }

    [Fact]
    public async Task Settings_of_mail_that_cannot_work_are_told_before_anybody_waits_for_a_mail()
    {
        await using var cli = await Cli.OpenAsync();
        cli.Variables["ROLLCALL_SMTP_FROM"] = "rollcall@school.example";
        foreach (var host in (string[])["mail server", "mail.school.example:587"])
        {
            cli.Variables["ROLLCALL_SMTP_HOST"] = host;
            await cli.RefusedAsync(1, $"'{host}' is no name of a machine", "district", "list");
        }

        cli.Variables["ROLLCALL_SMTP_HOST"] = "mail.school.example";
        await cli.OkAsync("district", "list");
        cli.Variables["ROLLCALL_SMTP_USER"] = "rollcall";
        await cli.RefusedAsync(1, "needs ROLLCALL_SMTP_PASSWORD_FILE", "district", "list");
        cli.Variables["ROLLCALL_SMTP_PASSWORD_FILE"] = cli.File("password", "\n");
        await cli.RefusedAsync(1, "is empty", "district", "list");
        cli.Variables["ROLLCALL_SMTP_PASSWORD_FILE"] = cli.File("password", "a password");
        await cli.OkAsync("district", "list");
    }

    [Fact]
    public async Task A_data_folder_that_cannot_be_used_is_named()
    {
        await using var cli = await Cli.OpenAsync();
        var file = cli.File("file", "x");
        await cli.RefusedAsync(1, "cannot be made", "district", "list", "--data", Path.Combine(file, "below"));
        var folder = Directory.CreateDirectory(Path.Combine(cli.Data, "broken")).FullName;
        await File.WriteAllTextAsync(Path.Combine(folder, "rollcall.db"), new string('x', 5000), TestContext.Current.CancellationToken);
        await cli.RefusedAsync(1, "rollcall.db", "district", "list", "--data", folder);

        // What keeps a lock from being taken is not always another process that has it.
        File.CreateSymbolicLink(Path.Combine(cli.Data, "worker.lock"), "worker.lock");
        await cli.RefusedAsync(1, "worker.lock cannot be written", "serve", "--urls", "http://127.0.0.1:0");
    }
}
