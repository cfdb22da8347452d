using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.ClassLink;
using Rollcall.OneRoster.Csv;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Probe;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Package;

/// <summary>The examples of the package's README, as the compiler sees them.</summary>
internal static class ReadmeExamples
{
    public static async Task<RestRosterSource> FindAsync(string key, string secret)
    {
        // README: find
        var server = await RosterServers.FindAsync(
            new RosterServerQuery
            {
                Address = "https://roster.example",
                TokenUrl = "https://roster.example/token",
                Key = key,
                Secret = secret,
            }
        );

        var credentials = new OAuth2Credentials("https://roster.example/token", key, secret, server.Form!.Value) { Scope = server.Scope };
        var source = new RestRosterSource(
            new RosterEndpoint(server.Address, credentials),
            RosterClientOptions.Default with
            {
                ServicePath = "",
            }
        );
        // README: end
        return source;
    }

    public static async Task<Dictionary<string, User>> ReadAsync(IRosterSource source)
    {
        // README: read
        var walk = source.Users();
        var attempt = 1;
        var people = new Dictionary<string, User>();
        await foreach (var page in walk.ReadAsync())
        {
            if (page.Attempt != attempt)
            {
                // Rows moved between pages: the collection is read anew.
                attempt = page.Attempt;
                people.Clear();
            }

            foreach (var user in page.Records)
            {
                if (user.SourcedId is { } id)
                {
                    people[id] = user;
                }
            }
        }

        Console.WriteLine($"{people.Count} people, forgiven: {string.Join(", ", walk.Result.Leniencies)}");
        // README: end
        return people;
    }

    public static async Task<RestRosterSource?> ClassLinkAsync(string partnerKey)
    {
        // README: classlink
        using var directory = new ClassLinkDirectory(partnerKey);
        var check = await directory.CheckAsync("2284");
        if (check is { State: TenantState.Valid, Application: { } application })
        {
            using var source = new ClassLinkConnections().OpenProxy(directory, application);
            await foreach (var page in source.Orgs().ReadAsync())
            {
                Console.WriteLine(string.Join('\n', page.Records.Select(o => o.Name)));
            }
        }
        // README: end

        return null;
    }

    public static void Csv()
    {
        // README: csv
        var package = CsvPackage.Read("roster.zip", TimeProvider.System.GetUtcNow());
        Console.WriteLine($"{package.Report.TestIdentifier}: {package.Report.Status}. {package.Report.Comment}");
        if (package.IsUsable)
        {
            using var source = new CsvRosterSource([package]);
            Console.WriteLine(source.HasAllPeople ? "Who is not in it is gone." : "It holds changes alone.");
        }
        // README: end
    }

    public static async Task ProbeAsync(IRosterProbe source)
    {
        // README: probe
        var report = await source.ProbeAsync(new ProbeOptions());
        foreach (var finding in report.Findings)
        {
            Console.WriteLine($"{finding.Weight}: {finding.Text}");
        }
        // README: end
    }
}
