using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Rollcall.Sandbox;

namespace Rollcall.Bench;

/// <summary>The district's side, apart from the measured process.</summary>
internal static class SandboxTask
{
    public static async Task RunAsync(Order order)
    {
        var options = Options(order.People);
        var start = Stopwatch.GetTimestamp();
        SandboxServer? running = null;
        TimeProvider clock = order.IsTrueClock ? TimeProvider.System : new DayClock(() => running?.District.Day ?? 0);
        await using var server = await SandboxServer.StartAsync(options with { Clock = clock });
        running = server;
        var seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        var ready = new SandboxReady(
            server.Url.ToString(),
            Ticked(server.District),
            [.. server.District.Schools.Select(s => new School(s.SourcedId, s.Name))],
            seconds
        );
        Console.WriteLine(JsonSerializer.Serialize(ready, Wire.Json));
        while (await Console.In.ReadLineAsync() is not null)
        {
            // The end of the input is the end of the sandbox.
        }
    }

    /// <summary>Lets days pass at the sandbox with this address.</summary>
    public static async Task GoToAsync(string url, int day)
    {
        using var client = new HttpClient { Timeout = TimeSpan.FromMinutes(10) };
        using var answer = await client.PostAsync(new Uri($"{url.TrimEnd('/')}/sandbox/day?day={day}"), content: null);
        answer.EnsureSuccessStatusCode();
    }

    /// <summary>Lets a share of each school's students vanish from the feed.</summary>
    /// <returns>How many there are of them.</returns>
    public static async Task<long> VanishAsync(string url, IEnumerable<School> schools, double share)
    {
        using var client = new HttpClient { Timeout = TimeSpan.FromMinutes(10) };
        var gone = 0L;
        foreach (var school in schools)
        {
            var address = string.Create(
                CultureInfo.InvariantCulture,
                $"{url.TrimEnd('/')}/sandbox/vanish?school={Uri.EscapeDataString(school.SourcedId)}&share={share}"
            );
            using var answer = await client.PostAsync(new Uri(address), content: null);
            answer.EnsureSuccessStatusCode();
            using var removed = JsonDocument.Parse(await answer.Content.ReadAsStringAsync());
            gone += removed.RootElement.GetProperty("removed").GetInt64();
        }

        return gone;
    }

    /// <summary>Everybody is there again.</summary>
    public static async Task RestoreAsync(string url)
    {
        using var client = new HttpClient { Timeout = TimeSpan.FromMinutes(10) };
        using var answer = await client.PostAsync(new Uri($"{url.TrimEnd('/')}/sandbox/restore"), content: null);
        answer.EnsureSuccessStatusCode();
    }

    /// <summary>A district with so many people of ticked roles.</summary>
    public static SandboxOptions Options(int people)
    {
        // How many of them are students follows from the district; a small one tells the share.
        var sample = new SandboxOptions { Students = 4000 };
        var share = sample.Students / (double)Ticked(SandboxDistrict.At(sample));
        return new SandboxOptions { Students = Math.Max(10, (int)Math.Round(people * share)) };
    }

    public static long Ticked(SandboxDistrict district) =>
        district.People.LongCount(p =>
            p
                is {
                    Presence: not SandboxPresence.Gone,
                    Group: SandboxRoleGroup.Student or SandboxRoleGroup.Teacher or SandboxRoleGroup.Admin
                }
        );
}
