using System.Globalization;

namespace Rollcall.Bench;

internal static class Tasks
{
    public const string Sandbox = "sandbox";
    public const string Sync = "sync";
    public const string Bare = "bare";
    public const string Users = "users";
    public const string Floor = "floor";
    public const string Undo = "undo";
    public const string Vanished = "vanished";
    public const string Pages = "pages";
    public const string WriteZip = "write-zip";
    public const string ReadZip = "read-zip";
    public const string Migrate = "migrate";
}

internal sealed record BenchOptions(IReadOnlyList<int> People, IReadOnlyList<string> Databases, bool Homerooms, bool UpdateReadme)
{
    /// <summary>Only reading is measured, from a server and from an archive, without a database.</summary>
    public bool ReadingAlone { get; init; }

    /// <summary>Only the waits for pages during a first sync are measured, and the longest are told one by one.</summary>
    public bool PagesAlone { get; init; }

    /// <summary>Nights of so many districts are measured instead; 0 for none.</summary>
    public int Districts { get; init; }

    /// <summary>The migration of so many patrons of the first version is measured instead; 0 for none.</summary>
    public int Migrated { get; init; }

    public int Nodes { get; init; } = 3;

    /// <summary>Operations at once on each node.</summary>
    public int Parallel { get; init; } = 2;

    /// <summary>Answers a second that all roster services give together.</summary>
    public int Rate { get; init; } = 200;

    /// <summary>Students of the district in the middle.</summary>
    public int Median { get; init; } = 1000;

    public const string Sqlite = "sqlite";
    public const string Postgres = "postgres";

    public const string Usage =
        "usage: dotnet run -c Release --project bench/Rollcall.Bench -- [--people 10000,100000,1000000] [--databases sqlite,postgres] [--no-homerooms] [--reading|--pages] [--update-readme]\n       ... -- --night DISTRICTS [--nodes 3] [--parallel 2] [--rate 200] [--median 1000] [--no-homerooms] [--update-readme]\n       ... -- --migrate PATRONS [--databases sqlite,postgres]";

    /// <summary>More people than this and only the full syncs are measured, without the floor: nobody waits for the rest.</summary>
    public const int Many = 200_000;

    /// <summary>Null when the arguments cannot be understood.</summary>
    public static BenchOptions? Parse(string[] args)
    {
        var options = new BenchOptions([10_000, 100_000, 1_000_000], [Sqlite, Postgres], Homerooms: true, UpdateReadme: false);
        for (var i = 0; i < args.Length; i++)
        {
            var value =
                i + 1 < args.Length ? args[i + 1].Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) : [];
            switch (args[i])
            {
                case "--people"
                    when value.Length > 0
                        && value.All(v => int.TryParse(v, NumberStyles.None, CultureInfo.InvariantCulture, out var n) && n >= 100):
                    options = options with { People = [.. value.Select(v => int.Parse(v, CultureInfo.InvariantCulture))] };
                    i++;
                    break;
                case "--databases" when value.Length > 0 && value.All(v => v is Sqlite or Postgres):
                    options = options with { Databases = value };
                    i++;
                    break;
                case "--night"
                or "--migrate"
                or "--nodes"
                or "--parallel"
                or "--rate"
                or "--median"
                    when value.Length == 1
                        && int.TryParse(value[0], NumberStyles.None, CultureInfo.InvariantCulture, out var number)
                        && number > 0:
                    options = args[i] switch
                    {
                        "--night" => options with { Districts = number },
                        "--migrate" => options with { Migrated = number },
                        "--nodes" => options with { Nodes = number },
                        "--parallel" => options with { Parallel = number },
                        "--rate" => options with { Rate = number },
                        _ => options with { Median = number },
                    };
                    i++;
                    break;
                case "--no-homerooms":
                    options = options with { Homerooms = false };
                    break;
                case "--reading":
                    options = options with { ReadingAlone = true };
                    break;
                case "--pages":
                    options = options with { PagesAlone = true };
                    break;
                case "--update-readme":
                    options = options with { UpdateReadme = true };
                    break;
                default:
                    return null;
            }
        }

        return options;
    }
}
