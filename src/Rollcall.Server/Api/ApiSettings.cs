using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Server.Commands;

namespace Rollcall.Server.Api;

/// <summary>Bodies → settings, by the words of the command line.</summary>
internal static class ApiSettings
{
    /// <summary>The changes of a patch, each with what it is called in the audit.</summary>
    /// <exception cref="RollcallException">Nothing is to be changed, or a word does not fit.</exception>
    public static IReadOnlyList<(string What, Func<IntegrationSettings, IntegrationSettings> Change)> ChangesOf(
        SettingsPatch patch,
        int? thresholdsOf,
        DateTimeOffset now,
        DateOnly today,
        TimeOnly proposed
    )
    {
        var changes = new List<(string, Func<IntegrationSettings, IntegrationSettings>)>();
        if (patch.Roles is { } words)
        {
            var roles = words.Select(Arguments.RoleGroup).Distinct().Order().ToList();
            changes.Add(($"roles {string.Join(',', roles.Select(Arguments.Word))}", s => s with { Roles = roles }));
        }

        foreach (var (field, source) in patch.Map ?? new Dictionary<string, string>())
        {
            var change = MapArguments.Parse(field, source);
            changes.Add(($"{field} from {source}", s => s with { Map = change(s.Map) }));
        }

        if (patch.SiteFrom is { } from)
        {
            changes.Add(($"site from {from}", s => SettingsChange.SiteFrom(s, from)));
        }

        foreach (var (grade, to) in patch.Grades ?? new Dictionary<string, string?>())
        {
            changes.Add(("grade translation", s => SettingsChange.Grade(s, grade, to)));
        }

        foreach (var (field, rule) in patch.Fields ?? new Dictionary<string, FieldRuleBody>())
        {
            changes.Add(($"{field} {rule.Policy} {rule.Blank}".TrimEnd(), s => SettingsChange.Field(s, field, rule.Policy, rule.Blank)));
        }

        foreach (var (kind, threshold) in patch.Thresholds ?? new Dictionary<string, ThresholdBody>())
        {
            changes.Add(
                (
                    $"threshold of {kind} {threshold.Percent}% {threshold.Count}",
                    s => SettingsChange.Threshold(s, kind, threshold.Percent, threshold.Count, thresholdsOf)
                )
            );
        }

        if (patch.ForgetThresholds == true)
        {
            var site = thresholdsOf ?? throw new RollcallException("Say whose thresholds are forgotten: thresholdsOfSite.");
            changes.Add(($"thresholds of site {site} taken away", s => SettingsChange.ForgetThresholds(s, site)));
        }

        if (patch.Schedule is { } schedule)
        {
            if (schedule.Resume == true)
            {
                changes.Add(("resume", s => SettingsChange.Resume(s, now)));
            }

            if (schedule.Daily is { } at)
            {
                changes.Add(($"daily {at}", s => SettingsChange.Daily(s, at, schedule.Mode, now, proposed)));
            }
            else if (schedule.Mode is not null)
            {
                throw new RollcallException("Say the time of day too: daily, as HH:mm.");
            }

            if (schedule.PauseFrom is not null || schedule.PauseTo is not null)
            {
                var (first, last) = (schedule.PauseFrom ?? "", schedule.PauseTo ?? schedule.PauseFrom ?? "");
                changes.Add(
                    (
                        $"{(schedule.Unpause == true ? "no " : "")}pause {schedule.PauseFrom} to {schedule.PauseTo}",
                        s =>
                            schedule.Unpause == true
                                ? SettingsChange.Unpause(s, first, last, now)
                                : SettingsChange.Pause(s, first, last, today)
                    )
                );
            }
        }

        return changes.Count == 0
            ? throw new RollcallException("Nothing to change was given. /api/v1/openapi.json describes what can be.")
            : changes;
    }

    /// <summary>The connection that a body asks for.</summary>
    /// <exception cref="RollcallException">The mode is not one of this service's, or something is missing.</exception>
    public static ConnectRequest RequestOf(IntegrationKind kind, ConnectBody body)
    {
        var mode = (kind, body.Mode.Trim().ToLowerInvariant()) switch
        {
            (IntegrationKind.ClassLink, "proxy") => ConnectionMode.Proxy,
            (IntegrationKind.ClassLink, "prefix") => ConnectionMode.Prefix,
            (IntegrationKind.ClassLink, "direct") => ConnectionMode.Direct,
            (IntegrationKind.OneRoster, "client-credentials") => ConnectionMode.ClientCredentials,
            (IntegrationKind.OneRoster, "direct") => ConnectionMode.Direct,
            (IntegrationKind.OneRoster, "bearer") => ConnectionMode.Bearer,
            (IntegrationKind.OneRosterCsv, _) => throw new RollcallException(
                "A folder is a place on the server's own machine: connect it there, with 'rollcall oneroster-csv connect --folder DIR'."
            ),
            _ => throw new RollcallException(
                kind == IntegrationKind.ClassLink
                    ? "The mode of ClassLink is proxy, prefix or direct."
                    : "The mode of a OneRoster server is client-credentials, direct or bearer."
            ),
        };
        string Needed(string? value, string name) => Text.Clean(value) ?? throw new RollcallException($"This mode needs {name} too.");
        return new ConnectRequest(
            mode,
            body.TenantId,
            Needed(body.Url, "url"),
            mode is ConnectionMode.Direct or ConnectionMode.ClientCredentials ? Needed(body.Key, "key") : null,
            mode == ConnectionMode.Proxy ? null : Needed(body.Secret, "secret"),
            mode == ConnectionMode.Direct ? body.Signature ?? (kind == IntegrationKind.ClassLink ? "HMAC-SHA256" : null) : null
        )
        {
            TokenUrl = body.TokenUrl,
            ApplicationId = mode == ConnectionMode.Proxy ? Text.Clean(body.Application) : null,
        };
    }
}
