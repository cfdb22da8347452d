using System.Text.Json;
using Rollcall.Sandbox;
using Rollcall.Server.Commands;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>A technician's whole way on the command line against a pretend district.</summary>
public sealed class StoryTests
{
    private static async Task<(int Code, string Out, string Error)> RunAsync(string data, params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var terminal = new Terminal(
            output,
            error,
            () => Stream.Null,
            name => name == "ROLLCALL_ALLOW_PRIVATE_ADDRESSES" ? "true" : null,
            OutIsTerminal: false,
            ErrorIsTerminal: false
        );
        var code = await CommandLine.RunAsync([.. args, "--data", data], terminal, CancellationToken.None);
        return (code, output.ToString(), error.ToString());
    }

    [Fact]
    public async Task A_district_is_connected_matched_and_synced()
    {
        using var folder = new TempFolder();
        var data = folder.Path;
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 100, Schools = 2 });
        var key = Path.Combine(data, "partner.key");
        await File.WriteAllTextAsync(key, sandbox.Options.PartnerKey + "\n");
        Assert.Equal(0, (await RunAsync(data, "district", "add", "RIVER", "--name", "Riverbend")).Code);
        Assert.Equal(2, (await RunAsync(data, "sync", "--no-such-option")).Code);
        Assert.Equal(1, (await RunAsync(data, "sync", "--json")).Code);

        var wrong = await RunAsync(
            data,
            "classlink",
            "connect",
            "--tenant-id",
            SandboxTenants.NeverAdded,
            "--proxy",
            sandbox.Url.ToString(),
            "--partner-key-file",
            key
        );
        Assert.Equal(1, wrong.Code);
        Assert.Single(wrong.Error.Trim().Split('\n'));
        Assert.Equal(
            0,
            (
                await RunAsync(
                    data,
                    "classlink",
                    "connect",
                    "--tenant-id",
                    sandbox.Options.TenantId,
                    "--proxy",
                    sandbox.Url.ToString(),
                    "--partner-key-file",
                    key
                )
            ).Code
        );
        Assert.Equal(0, (await RunAsync(data, "classlink", "on")).Code);
        var number = 0;
        foreach (var school in sandbox.District.Schools)
        {
            Assert.Equal(0, (await RunAsync(data, "site", "add", $"S{++number}", "--name", school.Name)).Code);
            Assert.Equal(0, (await RunAsync(data, "classlink", "match", $"S{number}", school.SourcedId)).Code);
        }

        Assert.Equal(0, (await RunAsync(data, "classlink", "roles", "student,teacher,admin")).Code);
        var sync = await RunAsync(data, "sync", "--json");
        Assert.Equal(0, sync.Code);
        using var result = JsonDocument.Parse(sync.Out);
        long Of(string name) => result.RootElement.GetProperty(name).GetInt64();
        Assert.True(Of("created") > 80);
        Assert.Equal(
            Of("read"),
            Of("created")
                + Of("updated")
                + Of("unchanged")
                + Of("reactivated")
                + Of("skipped")
                + Of("review")
                + Of("transferred")
                - Of("absent")
        );
        Assert.StartsWith("completed", result.RootElement.GetProperty("status").GetString(), StringComparison.Ordinal);
        using var patrons = JsonDocument.Parse((await RunAsync(data, "patron", "list", "--json")).Out);
        Assert.Equal(Of("created"), patrons.RootElement.GetArrayLength());
        Assert.Equal(0, (await RunAsync(data, "db", "check")).Code);

        // Every secret is tried, and what is none is not taken for one.
        Assert.Equal(0, (await RunAsync(data, "classlink", "login", "on", "--client-id", "app-1", "--client-secret-file", key)).Code);
        Assert.Equal(0, (await RunAsync(data, "db", "check")).Code);
        await File.WriteAllTextAsync(
            Path.Combine(data, "master.key"),
            Convert.ToBase64String(System.Security.Cryptography.RandomNumberGenerator.GetBytes(32))
        );
        var check = await RunAsync(data, "db", "check");
        Assert.NotEqual(0, check.Code);
        Assert.Contains("classlink.login: ", check.Out, StringComparison.Ordinal);
        Assert.Contains("classlink.partner-key: ", check.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_several_applications_one_is_chosen_by_its_id()
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 40, Schools = 2 });
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        string[] connect =
        [
            "classlink",
            "connect",
            "--tenant-id",
            SandboxTenants.TwoApplications,
            "--proxy",
            sandbox.Url.ToString(),
            "--partner-key-file",
            cli.File("key", sandbox.Options.PartnerKey),
        ];
        await cli.RefusedAsync(1, "Rollcall for libraries (Vt%2B2bPq0RxE%3D); '--application ID'", connect);
        await cli.RefusedAsync(1, "shares its roster no more", [.. connect, "--application", "x"]);
        await cli.OkAsync([.. connect, "--application", "Vt%2B2bPq0RxE%3D"]);
        Assert.Equal("Vt%2B2bPq0RxE%3D", (await cli.OkAsync("classlink", "show", "--json")).Word("application"));
        await cli.OkAsync("classlink", "test");
    }

    [Theory]
    [InlineData("", true)]
    [InlineData("", false)]
    [InlineData("proxy/v1p0/", true)]
    [InlineData("proxy/v1p0/", false)]
    public async Task A_pasted_prefix_is_read_in_both_of_its_forms_with_and_without_the_path_of_the_service(string form, bool whole)
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 40, Schools = 2 });
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        var prefix = $"{origin}/{form}{sandbox.Options.ApplicationId}{(whole ? "/ims/oneroster/v1p1/" : "")}";
        string[] connect = ["classlink", "connect", "--tenant-id", sandbox.Options.TenantId, "--prefix", prefix, "--token-file"];
        await cli.RefusedAsync(1, "refuses the credentials", [.. connect, cli.File("bad", "wrong")]);
        await cli.OkAsync([.. connect, cli.File("token", sandbox.Bearer)]);
        await cli.OkAsync("classlink", "on");
        var school = sandbox.District.Schools.First();
        await cli.OkAsync("site", "add", "S1", "--name", school.Name);
        await cli.OkAsync("classlink", "match", "S1", school.SourcedId);
        await cli.OkAsync("classlink", "roles", "student");
        Assert.True((await cli.OkAsync("sync", "--json")).Number("created") > 10);

        // Encoded once more, the application's id is another id.
        var twice = prefix.Replace("%2F", "%252F", StringComparison.Ordinal);
        connect =
        [
            "classlink",
            "connect",
            "--tenant-id",
            sandbox.Options.TenantId,
            "--prefix",
            twice,
            "--token-file",
            cli.File("token", sandbox.Bearer),
        ];
        await cli.RefusedAsync(1, "People are linked to another roster", connect);

        // What was agreed to is done only where there is a roster.
        await cli.RefusedAsync(1, "no roster at this address", [.. connect, "--yes"]);
        Assert.Equal(0, (await cli.OkAsync("sync", "--json")).Number("created"));
    }
}
