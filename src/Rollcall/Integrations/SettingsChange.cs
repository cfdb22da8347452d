using System.Globalization;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Integrations;

/// <summary>Single changes of an integration's settings, as people ask for them. Pure: each gives new settings, or says what is wrong.</summary>
public static class SettingsChange
{
    /// <summary>The fields that a policy or a blank rule can be set for.</summary>
    public static readonly IReadOnlyList<int> FieldsWithPolicy = [.. FieldMap.SyncedFields, PatronFields.Site, PatronFields.Status];

    /// <summary>Who wins, and what a blank of the roster does, for one field.</summary>
    /// <param name="settings">As they are.</param>
    /// <param name="name">Field name, number or label.</param>
    /// <param name="policy"><c>roster</c>, <c>fill</c> or <c>library</c>; null leaves it.</param>
    /// <param name="blank"><c>keep</c> or <c>clear</c>; null leaves it.</param>
    /// <exception cref="RollcallException">The field or a word is not known, or the field cannot follow the rule.</exception>
    public static IntegrationSettings Field(IntegrationSettings settings, string name, string? policy, string? blank)
    {
        var field = PatronFields.Find(name);
        if (field is null || !FieldsWithPolicy.Contains(field.Number))
        {
            throw new RollcallException(
                $"'{Text.Cut(name, 40)}' is no field that a roster writes. Those are: {string.Join(", ", FieldsWithPolicy.Select(f => PatronFields.ByNumber(f).Name))}."
            );
        }

        if (policy is null && blank is null)
        {
            throw new RollcallException("Say what to change: --policy roster|fill|library, --blank keep|clear, or both.");
        }

        var rule = settings.Map.Rules.GetValueOrDefault(field.Number) ?? new FieldRule();
        if (policy is not null)
        {
            rule = rule with
            {
                Policy = policy.Trim().ToLowerInvariant() switch
                {
                    "roster" => FieldPolicy.RosterWins,
                    "fill" => FieldPolicy.FillIfEmpty,
                    "library" => FieldPolicy.LibraryKeeps,
                    _ => throw new RollcallException($"'{Text.Cut(policy, 40)}' is no policy. Policies are: roster, fill, library."),
                },
            };
        }

        if (policy is not null && rule.Policy == FieldPolicy.FillIfEmpty && field.Number == PatronFields.Status)
        {
            throw new RollcallException(
                $"{field.Label} is never empty, so there is nothing to fill: its policy is 'roster' (leavers and returns) or 'library'."
            );
        }

        if (blank is not null)
        {
            var value = blank.Trim().ToLowerInvariant() switch
            {
                "keep" => BlankRule.Keep,
                "clear" => BlankRule.Clear,
                _ => throw new RollcallException($"'{Text.Cut(blank, 40)}' is no blank rule. Blank rules are: keep, clear."),
            };
            if (
                value == BlankRule.Clear
                && field.Number is PatronFields.LastName or PatronFields.Barcode or PatronFields.Site or PatronFields.Status
            )
            {
                throw new RollcallException($"{field.Label} can never become blank: its rule stays 'keep'.");
            }

            rule = rule with { Blank = value };
        }

        var rules = new Dictionary<int, FieldRule>(settings.Map.Rules) { [field.Number] = rule };
        return settings with { Map = settings.Map with { Rules = rules } };
    }

    /// <summary>Translates a grade; the same word on both sides, or a blank target, takes the translation away.</summary>
    public static IntegrationSettings Grade(IntegrationSettings settings, string from, string? to)
    {
        if (Text.Clean(from) is not { } clean)
        {
            throw new RollcallException("Name the grade as the roster sends it, then the grade to write here.");
        }

        // Grades are translated whatever their case: two that differ in it would be one, and which of them is nobody could tell.
        var grades = new Dictionary<string, string>(settings.Map.Grades, StringComparer.Ordinal);
        foreach (var same in grades.Keys.Where(k => Folded(k) == Folded(clean)).ToList())
        {
            grades.Remove(same);
        }

        if (Text.Clean(to) is { } target && !string.Equals(target, clean, StringComparison.Ordinal))
        {
            grades[clean] = target.Length <= 255 ? target : throw new RollcallException("A grade has at most 255 characters.");
        }

        return settings with
        {
            Map = settings.Map with { Grades = grades },
        };

        static string Folded(string grade) => Text.Clean(grade)?.ToLowerInvariant() ?? "";
    }

    /// <summary>Which org of a person decides the site.</summary>
    /// <exception cref="RollcallException">The word is not known.</exception>
    public static IntegrationSettings SiteFrom(IntegrationSettings settings, string word) =>
        settings with
        {
            Map = settings.Map with
            {
                SiteFrom = word.Trim().ToLowerInvariant() switch
                {
                    "first-org" => Mapping.SiteFrom.FirstOrg,
                    "first-matched" => Mapping.SiteFrom.FirstMatched,
                    "primary-org" => Mapping.SiteFrom.PrimaryOrg,
                    _ => throw new RollcallException(
                        $"'{Text.Cut(word, 40)}' is not known. The site comes from: first-org, first-matched, primary-org."
                    ),
                },
            },
        };

    /// <summary>When changes of one kind wait for a person.</summary>
    /// <param name="settings">As they are.</param>
    /// <param name="kind"><c>transfers</c>, <c>updates</c> or <c>creates</c>.</param>
    /// <param name="percent">0 to 100; null leaves it.</param>
    /// <param name="count">At least 1; null leaves it.</param>
    /// <param name="siteId">One site alone; null for the district.</param>
    /// <exception cref="RollcallException">A word or a number does not fit.</exception>
    public static IntegrationSettings Threshold(IntegrationSettings settings, string kind, double? percent, int? count, int? siteId)
    {
        var risk = kind.Trim().ToLowerInvariant() switch
        {
            "transfers" => Risk.Transfers,
            "updates" => Risk.Updates,
            "creates" => Risk.Creates,
            _ => throw new RollcallException($"'{Text.Cut(kind, 40)}' has no threshold. Thresholds are: transfers, updates, creates."),
        };
        if (percent is null && count is null)
        {
            throw new RollcallException("Say what to change: --percent P, --count N, or both.");
        }

        if (percent is < 0 or > 100 || (percent is { } number && !double.IsFinite(number)))
        {
            throw new RollcallException(
                string.Create(CultureInfo.InvariantCulture, $"A percentage is a number from 0 to 100; got {percent}.")
            );
        }

        if (count < 1)
        {
            throw new RollcallException(string.Create(CultureInfo.InvariantCulture, $"The number of people is at least 1; got {count}."));
        }

        var thresholds = settings.Thresholds;
        var now = thresholds.At(siteId ?? 0, risk);
        now = now with { Percent = percent ?? now.Percent, Count = count ?? now.Count };
        if (siteId is { } site)
        {
            var own = thresholds.Sites.GetValueOrDefault(site) ?? new SiteThresholds();
            own = risk switch
            {
                Risk.Transfers => own with { Transfers = now },
                Risk.Updates => own with { Updates = now },
                _ => own with { Creates = now },
            };
            thresholds = thresholds with { Sites = new Dictionary<int, SiteThresholds>(thresholds.Sites) { [site] = own } };
        }
        else
        {
            thresholds = risk switch
            {
                Risk.Transfers => thresholds with { Transfers = now },
                Risk.Updates => thresholds with { Updates = now },
                _ => thresholds with { Creates = now },
            };
        }

        return settings with
        {
            Thresholds = thresholds,
        };
    }

    /// <summary>The time of day at which the district is synced by itself.</summary>
    /// <param name="settings">As they are.</param>
    /// <param name="at">24-hour <c>HH:mm</c>; <c>off</c> for never, <c>default</c> for what is proposed.</param>
    /// <param name="mode"><c>full</c> or <c>changes</c>; null leaves it.</param>
    /// <param name="now">The first run is the first time of day after it.</param>
    /// <param name="proposed">The time that is proposed to the district; null where the word is not known.</param>
    /// <exception cref="RollcallException">A word does not fit.</exception>
    public static IntegrationSettings Daily(
        IntegrationSettings settings,
        string at,
        string? mode,
        DateTimeOffset now,
        TimeOnly? proposed = null
    )
    {
        TimeOnly? time = null;
        if (proposed is not null && string.Equals(at.Trim(), "default", StringComparison.OrdinalIgnoreCase))
        {
            time = proposed;
        }
        else if (!string.Equals(at.Trim(), "off", StringComparison.OrdinalIgnoreCase))
        {
            time = TimeOnly.TryParseExact(at.Trim(), ["HH:mm", "H:mm"], CultureInfo.InvariantCulture, DateTimeStyles.None, out var parsed)
                ? parsed
                : throw new RollcallException(
                    $"'{Text.Cut(at, 20)}' is no time of day. Write it as HH:mm, such as 04:00, or 'off'{(proposed is null ? "" : ", or 'default' for the time that is proposed")}."
                );
        }

        return settings with
        {
            Daily = settings.Daily with
            {
                At = time,
                Chosen = time ?? settings.Daily.At ?? settings.Daily.Chosen,
                ByHand = time is null,
                Since = now,
                ChangesOnly = mode?.Trim().ToLowerInvariant() switch
                {
                    null => settings.Daily.ChangesOnly,
                    "full" => false,
                    "changes" => true,
                    _ => throw new RollcallException($"'{Text.Cut(mode, 40)}' is no mode. Modes are: full, changes."),
                },
            },
        };
    }

    /// <summary>No Daily Operations from one day to another, both included. Those that meet become one.</summary>
    /// <param name="settings">As they are.</param>
    /// <param name="from">The first day.</param>
    /// <param name="to">The last day.</param>
    /// <param name="today">Where the district is.</param>
    /// <exception cref="RollcallException">No dates, the wrong way round, or over already.</exception>
    public static IntegrationSettings Pause(IntegrationSettings settings, string from, string to, DateOnly today) =>
        Pause(settings, from, to, today, out _);

    /// <inheritdoc cref="Pause(IntegrationSettings, string, string, DateOnly)"/>
    /// <param name="settings">As they are.</param>
    /// <param name="from">The first day.</param>
    /// <param name="to">The last day.</param>
    /// <param name="today">Where the district is.</param>
    /// <param name="pause">The pause that there is now, and whether others went into it.</param>
    public static IntegrationSettings Pause(
        IntegrationSettings settings,
        string from,
        string to,
        DateOnly today,
        out (PauseDates Dates, bool Joined) pause
    )
    {
        var asked = Dates(from, to);
        if (asked.From.Year < 2000 || asked.To.Year > 2200)
        {
            throw new RollcallException(
                "A pause lies between 2000 and 2200. To have nothing run by itself at all, turn the daily sync off."
            );
        }

        if (asked.To < today)
        {
            throw new RollcallException("These days are over: there is nothing left to pause. Choose a last day that is still to come.");
        }

        var (first, last) = (asked.From, asked.To);
        List<PauseDates> rest = [.. settings.Daily.Pauses];
        while (rest.Find(p => p.From.DayNumber <= last.DayNumber + 1 && first.DayNumber <= p.To.DayNumber + 1) is { } met)
        {
            rest.Remove(met);
            (first, last) = (met.From < first ? met.From : first, met.To > last ? met.To : last);
        }

        pause = (new PauseDates(first, last), rest.Count < settings.Daily.Pauses.Count);
        return settings with
        {
            Daily = settings.Daily with { Pauses = [.. rest.Append(pause.Dates).OrderBy(p => p.From).ThenBy(p => p.To)] },
        };
    }

    private static PauseDates Dates(string from, string to)
    {
        var (first, last) = (Date(from), Date(to));
        return last < first
            ? throw new RollcallException("The pause ends before it begins. Give the earlier date first.")
            : new PauseDates(first, last);

        static DateOnly Date(string text) =>
            DateOnly.TryParseExact(text.Trim(), "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var date)
                ? date
                : throw new RollcallException($"'{Text.Cut(text, 20)}' is no date. Write it as YYYY-MM-DD, such as 2026-12-24.");
    }

    /// <summary>Takes one pause away; one that is not there is no error. What fell into it is not caught up.</summary>
    public static IntegrationSettings Unpause(IntegrationSettings settings, string from, string to, DateTimeOffset now)
    {
        var pause = Dates(from, to);
        return settings.Daily.Pauses.Contains(pause)
            ? settings with
            {
                Daily = settings.Daily with { Pauses = [.. settings.Daily.Pauses.Where(p => p != pause)], Since = now },
            }
            : settings;
    }

    /// <summary>A site follows the district's thresholds again.</summary>
    public static IntegrationSettings ForgetThresholds(IntegrationSettings settings, int siteId) =>
        settings with
        {
            Thresholds = settings.Thresholds with
            {
                Sites = settings.Thresholds.Sites.Where(s => s.Key != siteId).ToDictionary(s => s.Key, s => s.Value),
            },
        };

    /// <summary>Daily Operations go on: pauses are taken away, and so is what an undo put in their way.</summary>
    public static IntegrationSettings Resume(IntegrationSettings settings, DateTimeOffset now) =>
        GoOn(settings with { Daily = settings.Daily with { Pauses = [] } }, now);

    /// <summary>What an undo or failed nights put in the way of Daily Operations is taken away. Pauses stay.</summary>
    public static IntegrationSettings GoOn(IntegrationSettings settings, DateTimeOffset now) =>
        settings with
        {
            Daily = settings.Daily with { StoppedBecause = null, StoppedByFailures = false, Since = now },
        };
}
