using System.Text;
using Rollcall.OneRoster.Csv;

namespace Rollcall.OneRoster.Tests.Csv;

/// <summary>Packages that are broken at random: whatever comes, it is judged or read, and ends.</summary>
public sealed class FuzzTests
{
    [Fact]
    public async Task Broken_packages_never_crash_the_reader()
    {
        using var folder = new Folder();
        var seed = Fuzz.Seconds is null ? 7 : Environment.TickCount;
        var began = TimeProvider.System.GetTimestamp();
        var random = new Random(seed);
        string[] versions = ["1.0", "1.1", "1.2"];
        string[] tokens =
        [
            "\"",
            ",",
            "\r\n",
            "\n",
            "\r",
            "\0",
            "\uFEFF",
            "{",
            "}",
            ":",
            "é",
            "tobedeleted",
            "2026-13-45",
            "\"\"",
            "u1",
            "",
        ];
        for (var round = 0; Fuzz.Seconds is { } most ? TimeProvider.System.GetElapsedTime(began).TotalSeconds < most : round < 300; round++)
        {
            var bundle = Bundle.Of(versions[random.Next(3)], random.Next(2) == 0);
            for (var change = random.Next(1, 6); change > 0; change--)
            {
                var file = bundle.Files.Keys.ElementAt(random.Next(bundle.Files.Count));
                var bytes = bundle.Raw.GetValueOrDefault(file) ?? Encoding.UTF8.GetBytes(bundle.Files[file]);
                var at = random.Next(bytes.Length + 1);
                bundle.Raw[file] = random.Next(5) switch
                {
                    0 => bytes[..at],
                    1 => [.. bytes[..at], (byte)random.Next(256), .. bytes[Math.Min(bytes.Length, at + 1)..]],
                    2 => [.. bytes[..at], .. bytes[Math.Min(bytes.Length, at + random.Next(40))..]],
                    _ => [.. bytes[..at], .. Encoding.UTF8.GetBytes(tokens[random.Next(tokens.Length)]), .. bytes[at..]],
                };
            }

            var zip = bundle.ToZip();
            if (random.Next(4) == 0)
            {
                for (var change = random.Next(1, 8); change > 0; change--)
                {
                    zip[random.Next(zip.Length)] = (byte)random.Next(256);
                }
            }

            var path = folder.Write("fuzz.zip", zip);
            try
            {
                using var package = CsvPackage.Read(
                    path,
                    DateTimeOffset.UnixEpoch,
                    cancellationToken: TestContext.Current.CancellationToken
                );
                if (package.IsUsable)
                {
                    using var source = new CsvRosterSource([package]);
                    await foreach (var page in source.Users().ReadAsync(TestContext.Current.CancellationToken))
                    {
                        Assert.All(page.Records, u => Assert.DoesNotContain('\0', u.FamilyName ?? ""));
                    }

                    await DrainAsync(source.Orgs());
                    await DrainAsync(source.Enrollments());
                    await DrainAsync(source.Demographics());
                    await DrainAsync(source.Classes());
                    await DrainAsync(source.AcademicSessions());
                }
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                Assert.Fail($"Seed {seed}, round {round}: {e}");
            }
        }
    }

    private static async Task DrainAsync<T>(Rollcall.OneRoster.Rest.ICollectionWalk<T> walk)
    {
        await foreach (var page in walk.ReadAsync(TestContext.Current.CancellationToken))
        {
            Assert.NotEmpty(page.Records);
        }
    }
}
