using System.Globalization;
using System.Net;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Pages;

/// <summary>The rules of a roster service on its page: schedule, holds, who wins, grades.</summary>
public sealed class RulesPageTests(SyncedLibrary library) : RulesPages(library), IClassFixture<SyncedLibrary>;

/// <summary>The same on PostgreSQL, where every page works under row-level security.</summary>
public sealed class RulesPageOnPostgresTests(PostgresLibrary library) : RulesPages(library), IClassFixture<PostgresLibrary>;

public abstract class RulesPages(SyncedLibrary library)
{
    private const string Page = "/preferences/sis/classlink";

    private async Task<IntegrationSettings> SettingsAsync() =>
        IntegrationService.SettingsOf(
            await library.Service<IntegrationService>().FindAsync(library.District.Id, IntegrationKind.ClassLink)
        );

    [Fact]
    public async Task The_schedule_is_set_paused_and_resumed()
    {
        using var visitor = new Visitor(library.Url);
        const string schedule = $"{Page}/schedule";
        await visitor.SubmitAsync(
            schedule,
            $"{schedule}?handler=Daily",
            ("on", "yes"),
            ("at", "05:30:00"),
            ("mode", "changes"),
            ("zone", "America/Chicago")
        );
        var daily = (await SettingsAsync()).Daily;
        Assert.Equal((new TimeOnly(5, 30), true), (daily.At, daily.ChangesOnly));
        var page = WebUtility.HtmlDecode(await visitor.PageAsync(schedule));
        Assert.Contains("05:30 (America/Chicago)", page, StringComparison.Ordinal);
        var pause = await visitor.RefusedAsync(schedule, $"{schedule}?handler=Pause", ("from", "2026-12-24"), ("to", "2026-12-20"));
        Assert.Contains("Give the earlier date first", pause, StringComparison.Ordinal);
        Assert.All(["2026-12-24", "2026-12-20"], d => Assert.Contains($"value=\"{d}\"", pause, StringComparison.Ordinal));
        var endless = await visitor.RefusedAsync(schedule, $"{schedule}?handler=Pause", ("from", "2026-12-20"), ("to", "9999-12-31"));
        Assert.Contains("between 2000 and 2200", endless, StringComparison.Ordinal);
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Pause", ("from", "2036-12-20"), ("to", "2037-01-06"));
        Assert.Single((await SettingsAsync()).Daily.Pauses);
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Unpause", ("from", "2036-12-20"), ("to", "2037-01-06"));
        Assert.Empty((await SettingsAsync()).Daily.Pauses);
        var daily25 = await visitor.RefusedAsync(
            schedule,
            $"{schedule}?handler=Daily",
            ("on", "yes"),
            ("at", "25:99"),
            ("mode", "full"),
            ("zone", "America/Denver"),
            ("wasMode", "changes")
        );
        Assert.Contains("is no time of day", daily25, StringComparison.Ordinal);
        Assert.Contains("name=\"at\" type=\"time\" value=\"25:99\"", daily25, StringComparison.Ordinal);
        Assert.Contains("<option value=\"America/Denver\" selected", daily25, StringComparison.Ordinal);
        Assert.Contains("name=\"mode\" value=\"full\" checked", daily25, StringComparison.Ordinal);
        Assert.Contains("name=\"wasMode\" value=\"changes\"", daily25, StringComparison.Ordinal);
        Assert.Contains("data-unsaved=\"typed\"", daily25, StringComparison.Ordinal);
        Assert.Equal("America/Chicago", (await library.Service<DistrictService>().ListAsync())[0].TimeZone);
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Daily", ("mode", "full"), ("zone", library.District.TimeZone));
        Assert.Null((await SettingsAsync()).Daily.At);

        // A time that is typed while nothing runs is there when something does.
        var at = "name=\"at\" type=\"time\" value=\"";
        Assert.Contains($"{at}05:30\"", await visitor.PageAsync(schedule), StringComparison.Ordinal);
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Daily", ("wasOn", "no"), ("wasAt", "05:30"), ("at", "03:30"));
        var kept = await visitor.PageAsync(schedule);
        Assert.Contains("Nothing runs by itself: 03:30 is kept for when it does.", kept, StringComparison.Ordinal);
        Assert.Contains($"{at}03:30\"", kept, StringComparison.Ordinal);
        Assert.Null((await SettingsAsync()).Daily.At);

        // Days that are over are no pause, and pauses that meet are one.
        var over = await visitor.RefusedAsync(schedule, $"{schedule}?handler=Pause", ("from", "2020-12-20"), ("to", "2021-01-06"));
        Assert.Contains("These days are over", over, StringComparison.Ordinal);
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Pause", ("from", "2031-12-20"), ("to", "2032-01-06"));
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Pause", ("from", "2032-01-07"), ("to", "2032-01-10"));
        var joined = WebUtility.HtmlDecode(await visitor.PageAsync(schedule));
        Assert.Contains(
            "No Daily Operations from December 20, 2031 to January 10, 2032. The pauses that met are one now.",
            joined,
            StringComparison.Ordinal
        );
        Assert.Single((await SettingsAsync()).Daily.Pauses);
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Unpause", ("from", "2031-12-20"), ("to", "2032-01-10"));
        Assert.Empty((await SettingsAsync()).Daily.Pauses);

        // What an undo put in the way is said on the page and on the dashboard, with the way out; not where nothing runs by itself anyway.
        Task StopAsync(TimeOnly? at) =>
            library
                .Service<IntegrationService>()
                .ConfigureAsync(
                    library.District.Id,
                    IntegrationKind.ClassLink,
                    "test",
                    "stop",
                    s => s with { Daily = s.Daily with { At = at, StoppedBecause = "Operation 1 was undone." } }
                );
        await StopAsync(null);
        Assert.DoesNotContain("have stopped", await visitor.PageAsync("/"), StringComparison.Ordinal);
        await StopAsync(new TimeOnly(4, 0));
        Assert.Contains("Operation 1 was undone.", await visitor.PageAsync("/"), StringComparison.Ordinal);
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Daily", ("on", "yes"), ("at", "05:45"), ("mode", "full"));
        Assert.Contains(
            "Daily Operations have stopped: nothing runs at 05:45 before they are resumed.",
            WebUtility.HtmlDecode(await visitor.PageAsync(schedule)),
            StringComparison.Ordinal
        );
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Pause", ("from", "2030-12-20"), ("to", "2031-01-06"));
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Resume");
        Assert.DoesNotContain("have stopped", await visitor.PageAsync("/"), StringComparison.Ordinal);

        // A pause that is still to come has a button of its own.
        Assert.Equal(
            new PauseDates(new DateOnly(2030, 12, 20), new DateOnly(2031, 1, 6)),
            Assert.Single((await SettingsAsync()).Daily.Pauses)
        );
        await visitor.SubmitAsync(schedule, $"{schedule}?handler=Unpause", ("from", "2030-12-20"), ("to", "2031-01-06"));

        // The date of a night that has been is not promised again, though its hour was moved to later.
        var today = DateOnly.FromDateTime(TimeZoneInfo.ConvertTime(TimeProvider.System.GetUtcNow(), library.District.Zone).DateTime);
        (string, string) Day(string name, DateOnly day) => (name, day.ToString("dddd, MMMM d", CultureInfo.InvariantCulture));
        await ConfigureAsync(d => d with { At = new TimeOnly(23, 59), Since = TimeProvider.System.GetUtcNow() });
        foreach (var (address, day) in ((string, string)[])[Day("/", today), Day(schedule, today)])
        {
            Assert.Contains(day, await visitor.PageAsync(address), StringComparison.Ordinal);
        }

        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            context.Operations.Add(
                new Operation
                {
                    DistrictId = library.District.Id,
                    Kind = OperationKind.ChangesSync,
                    Integration = IntegrationKind.ClassLink,
                    Status = OperationStatus.Cancelled,
                    DailyDate = today,
                    RequestedBy = DailySchedule.Actor,
                    CreatedAt = TimeProvider.System.GetUtcNow(),
                    FinishedAt = TimeProvider.System.GetUtcNow(),
                    Settled = true,
                }
            );
            await context.SaveChangesAsync();
        }

        foreach (var (address, day) in ((string, string)[])[Day("/", today.AddDays(1)), Day(schedule, today.AddDays(1))])
        {
            Assert.Contains(day, await visitor.PageAsync(address), StringComparison.Ordinal);
        }

        await ConfigureAsync(d => d with { At = null });
        Task ConfigureAsync(Func<DailyOperations, DailyOperations> change) =>
            library
                .Service<IntegrationService>()
                .ConfigureAsync(
                    library.District.Id,
                    IntegrationKind.ClassLink,
                    "test",
                    "schedule",
                    s => s with { Daily = change(s.Daily) }
                );
    }

    [Fact]
    public async Task Holds_rules_and_grades_are_saved_and_refused_in_words()
    {
        using var visitor = new Visitor(library.Url);
        const string holds = $"{Page}/holds";
        (string, string)[] numbers =
        [
            ("kind", "transfers"),
            ("count", "5"),
            ("percent", "2.5"),
            ("kind", "updates"),
            ("count", "7"),
            ("percent", "20"),
        ];
        await visitor.SubmitAsync(holds, $"{holds}?handler=Holds", [("site", "S01"), .. numbers]);
        var site = (await library.Service<SiteService>().ListAsync(library.District.Id)).First(s => s.Code == "S01");
        var thresholds = (await SettingsAsync()).Thresholds;
        Assert.Equal(new Threshold(2.5, 5), thresholds.At(site.Id, Risk.Transfers));
        Assert.Equal(new Threshold(10, 10), thresholds.Transfers);
        await visitor.SubmitAsync(holds, $"{holds}?handler=Forget", ("site", $"{site.Id}"));
        Assert.Empty((await SettingsAsync()).Thresholds.Sites);
        var many = await visitor.RefusedAsync(
            holds,
            $"{holds}?handler=Holds",
            ("kind", "transfers"),
            ("count", "12"),
            ("percent", "1.5"),
            ("kind", "updates"),
            ("count", "many"),
            ("percent", "1")
        );
        Assert.Contains("is no number of people", many, StringComparison.Ordinal);
        Assert.All(["12", "1.5", "many"], v => Assert.Contains($"value=\"{v}\"", many, StringComparison.Ordinal));

        const string mapping = $"{Page}/mapping";
        await visitor.SubmitAsync(
            mapping,
            $"{mapping}?handler=Rules",
            ($"policy-{PatronFields.Email}", "fill"),
            ($"blank-{PatronFields.Phone}", "clear"),
            ($"policy-{PatronFields.LastName}", "roster"),
            ("siteFrom", "first-matched"),
            ("nickname", "yes")
        );
        var map = (await SettingsAsync()).Map;
        Assert.Equal(
            (FieldPolicy.FillIfEmpty, BlankRule.Clear, SiteFrom.FirstMatched, true),
            (map.PolicyOf(PatronFields.Email), map.BlankOf(PatronFields.Phone), map.SiteFrom, map.NicknameFromPreferredName)
        );
        Assert.Equal(2, map.Rules.Count);
        await visitor.SubmitAsync(
            mapping,
            $"{mapping}?handler=Grades",
            ("from", "03"),
            ("to", "3rd"),
            ("from", "KG"),
            ("to", ""),
            ("from", ""),
            ("to", "")
        );
        Assert.Equal("3rd", Assert.Single((await SettingsAsync()).Map.Grades).Value);
        var lost = await visitor.RefusedAsync(
            mapping,
            $"{mapping}?handler=Grades",
            ("from", "03"),
            ("was", "3rd"),
            ("to", "Third"),
            ("from", ""),
            ("was", ""),
            ("to", "lost")
        );
        Assert.Contains("Say which grade of the roster", lost, StringComparison.Ordinal);
        Assert.All(["Third", "lost"], v => Assert.Contains($"name=\"to\" value=\"{v}\"", lost, StringComparison.Ordinal));
        Assert.Contains("name=\"was\" value=\"3rd\"", lost, StringComparison.Ordinal);

        // An example person's values, here and in the roster.
        var shown = WebUtility.HtmlDecode(await visitor.PageAsync($"{mapping}?ask=roster"));
        Assert.Contains("What the roster says at this moment", shown, StringComparison.Ordinal);
        Assert.Contains("roster: ", shown, StringComparison.Ordinal);
        Assert.Contains("There is no patron", await visitor.PageAsync($"{mapping}?example=NOSUCH"), StringComparison.Ordinal);
    }

    /// <summary>Who decides over leavers is seen and set where everything else is, whoever set it by a command.</summary>
    [Fact]
    public async Task Who_keeps_the_status_is_shown_and_can_be_changed()
    {
        using var visitor = new Visitor(library.Url);
        const string mapping = $"{Page}/mapping";
        string field = $"policy-{PatronFields.Status}";
        Assert.Contains("value=\"roster\" selected", await SelectAsync(), StringComparison.Ordinal);
        Assert.DoesNotContain("value=\"fill\"", await SelectAsync(), StringComparison.Ordinal);
        var settings = await SettingsAsync();
        await library
            .Service<IntegrationService>()
            .ConfigureAsync(
                library.District.Id,
                IntegrationKind.ClassLink,
                "test",
                "status",
                s =>
                    s with
                    {
                        Map = s.Map with
                        {
                            Rules = new Dictionary<int, FieldRule>(s.Map.Rules) { [PatronFields.Status] = new(FieldPolicy.FillIfEmpty) },
                        },
                    }
            );
        Assert.Contains("value=\"library\" selected", await SelectAsync(), StringComparison.Ordinal);
        await visitor.SubmitAsync(mapping, $"{mapping}?handler=Rules", (field, "roster"), ($"was-{field}", "library"));
        Assert.Equal(FieldPolicy.RosterWins, (await SettingsAsync()).Map.PolicyOf(PatronFields.Status));
        Assert.Contains("value=\"roster\" selected", await SelectAsync(), StringComparison.Ordinal);
        await library
            .Service<IntegrationService>()
            .ConfigureAsync(library.District.Id, IntegrationKind.ClassLink, "test", "as it was", _ => settings);

        async Task<string> SelectAsync() => (await visitor.PageAsync(mapping)).Split($"name=\"{field}\"")[1].Split("</select>")[0];
    }

    [Fact]
    public async Task A_window_that_was_open_before_saves_what_it_changed_and_nothing_else()
    {
        using var visitor = new Visitor(library.Url);
        var before = await SettingsAsync();
        const string mapping = $"{Page}/mapping";
        const string rules = $"{mapping}?handler=Rules";
        (string, string) was = ($"was-policy-{PatronFields.Sex}", "roster");
        (string, string) stale = ($"policy-{PatronFields.Sex}", "roster");
        await visitor.SubmitAsync(mapping, rules, ($"policy-{PatronFields.Sex}", "library"), was);
        await visitor.SubmitAsync(
            mapping,
            rules,
            stale,
            was,
            ($"policy-{PatronFields.Level}", "fill"),
            ($"was-policy-{PatronFields.Level}", "roster")
        );
        var map = (await SettingsAsync()).Map;
        Assert.Equal(
            (FieldPolicy.LibraryKeeps, FieldPolicy.FillIfEmpty),
            (map.PolicyOf(PatronFields.Sex), map.PolicyOf(PatronFields.Level))
        );

        const string grades = $"{mapping}?handler=Grades";
        await visitor.SubmitAsync(mapping, grades, ("from", "07"), ("was", ""), ("to", "7th"));
        await visitor.SubmitAsync(mapping, grades, ("from", "07"), ("was", ""), ("to", ""), ("from", "08"), ("was", ""), ("to", "8th"));
        Assert.Equal(("7th", "8th"), ((await SettingsAsync()).Map.Grades["07"], (await SettingsAsync()).Map.Grades["08"]));

        const string holds = $"{Page}/holds";
        (string, string)[] updates = [("kind", "updates"), ("count", "33"), ("wasCount", "10"), ("percent", "10"), ("wasPercent", "10")];
        await visitor.SubmitAsync(holds, $"{holds}?handler=Holds", updates);
        (string, string)[] later = [("kind", "updates"), ("count", "10"), ("wasCount", "10"), ("percent", "44"), ("wasPercent", "10")];
        await visitor.SubmitAsync(holds, $"{holds}?handler=Holds", later);
        Assert.Equal(new Threshold(44, 33), (await SettingsAsync()).Thresholds.Updates);
        await visitor.SubmitAsync(holds, $"{holds}?handler=Holds", [.. later[..3], ("percent", "10"), ("wasPercent", "10")]);
        Assert.Contains("nothing was changed", await visitor.PageAsync(holds), StringComparison.Ordinal);

        // The page says what the fields held, so that a browser sends it along.
        Assert.Contains(
            $"name=\"was-policy-{PatronFields.Sex}\" value=\"library\"",
            await visitor.PageAsync(mapping),
            StringComparison.Ordinal
        );
        Assert.Contains("name=\"wasCount\" value=\"33\"", await visitor.PageAsync(holds), StringComparison.Ordinal);

        // A sync moves Next Barcode on while a site's form is open: saving its name does not set it back.
        var sites = library.Service<SiteService>();
        await sites.AddAsync(library.District.Id, "OPEN", new SiteChange("Open", "OPEN-00001", null, null, null), "test");
        Assert.Contains(
            "name=\"was.nextBarcode\" value=\"OPEN-00001\"",
            await visitor.PageAsync("/sites/edit/OPEN"),
            StringComparison.Ordinal
        );
        await sites.SetAsync(library.District.Id, "OPEN", new SiteChange(null, "OPEN-00009", null, null, null), "test");
        (string, string)[] form =
        [
            ("name", "Opened"),
            ("was.name", "Open"),
            ("nextBarcode", "OPEN-00001"),
            ("was.nextBarcode", "OPEN-00001"),
        ];
        await visitor.SubmitAsync("/sites/edit/OPEN", "Save", "/sites/edit/OPEN", form);
        var site = (await sites.ListAsync(library.District.Id)).Single(s => s.Code == "OPEN");
        Assert.Equal(("Opened", "OPEN-00009"), (site.Name, site.NextBarcode));
        await library
            .Service<IntegrationService>()
            .ConfigureAsync(
                library.District.Id,
                IntegrationKind.ClassLink,
                "test",
                "as before",
                s => s with { Map = before.Map, Thresholds = before.Thresholds }
            );
    }

    [Fact]
    public async Task Who_is_synced_and_when_are_saved_as_far_as_a_window_changed_them()
    {
        using var visitor = new Visitor(library.Url);
        var before = await SettingsAsync();
        const string syncing = $"{Page}/syncing";
        const string roles = $"{syncing}?handler=Roles";
        (string, string)[] all = [("was", "Student"), ("was", "Teacher"), ("was", "Admin")];

        // Both windows were opened with all three ticked: each takes another one away.
        await visitor.SubmitAsync(syncing, roles, [.. all, ("roles", "Student"), ("roles", "Teacher")]);
        await visitor.SubmitAsync(syncing, roles, [.. all, ("roles", "Student"), ("roles", "Admin")]);
        Assert.Equal([RoleGroup.Student], (await SettingsAsync()).Roles);
        Assert.Contains("Synced from now on: Student.", await visitor.PageAsync(syncing), StringComparison.Ordinal);
        var nobody = await visitor.RefusedAsync(syncing, roles, [.. all, ("roles", "Teacher"), ("roles", "Admin")]);
        Assert.Equal([RoleGroup.Student], (await SettingsAsync()).Roles);
        Assert.Contains("Another window", nobody, StringComparison.Ordinal);
        await visitor.SubmitAsync(syncing, roles, [.. all, ("roles", "Student"), ("roles", "Teacher"), ("roles", "Admin")]);
        Assert.Contains("nothing was changed", await visitor.PageAsync(syncing), StringComparison.Ordinal);
        Assert.Contains("name=\"was\" value=\"Student\"", await visitor.PageAsync(syncing), StringComparison.Ordinal);

        // Opened before anybody was ticked: a tick is added, and another window's stays.
        Assert.Contains("name=\"opened\" value=\"yes\"", await visitor.PageAsync(syncing), StringComparison.Ordinal);
        await visitor.SubmitAsync(syncing, roles, ("opened", "yes"), ("roles", "Teacher"));
        Assert.Equal([RoleGroup.Student, RoleGroup.Teacher], (await SettingsAsync()).Roles.Order());

        const string schedule = $"{Page}/schedule";
        const string daily = $"{schedule}?handler=Daily";
        (string, string)[] was = [("wasOn", "no"), ("wasAt", "04:00"), ("wasMode", "full"), ("wasZone", "UTC")];
        (string, string) zone = ("zone", "UTC");
        await visitor.SubmitAsync(schedule, daily, [.. was, ("on", "yes"), ("at", "05:30"), ("mode", "full"), zone]);
        await visitor.SubmitAsync(schedule, daily, [.. was, ("at", "04:00"), ("mode", "changes"), zone]);
        var set = (await SettingsAsync()).Daily;
        Assert.Equal((new TimeOnly(5, 30), true), (set.At, set.ChangesOnly));
        await visitor.SubmitAsync(schedule, daily, [.. was, ("at", "04:00"), ("mode", "full"), zone]);
        Assert.Contains("nothing was changed", await visitor.PageAsync(schedule), StringComparison.Ordinal);
        var still = (await SettingsAsync()).Daily;
        Assert.Equal((set.At, set.Since, set.ChangesOnly), (still.At, still.Since, still.ChangesOnly));
        var page = await visitor.PageAsync(schedule);
        Assert.All(
            [("wasOn", "yes"), ("wasAt", "05:30"), ("wasMode", "changes")],
            f => Assert.Contains($"name=\"{f.Item1}\" value=\"{f.Item2}\"", page, StringComparison.Ordinal)
        );
        await library
            .Service<IntegrationService>()
            .ConfigureAsync(
                library.District.Id,
                IntegrationKind.ClassLink,
                "test",
                "as before",
                s => s with { Roles = before.Roles, Daily = before.Daily }
            );
    }

    /// <summary>Whoever types an address that is here already takes sites away, perhaps without knowing.</summary>
    [Fact]
    public async Task What_an_account_could_do_before_is_said_when_it_changes_and_stands_in_the_form()
    {
        using var visitor = new Visitor(library.Url);
        const string email = "desk@library.example";
        await library
            .Service<Rollcall.SignIn.Accounts>()
            .AddAsync(email, library.District, SecurityGroup.Librarian, "S01,S02", false, "test");
        var id = (await library.Service<Rollcall.SignIn.Accounts>().ListAsync(library.District.Id)).Single(a => a.Email == email).Id;
        var names = (await library.Service<SiteService>().ListAsync(library.District.Id)).ToDictionary(s => s.Code, s => s.Name);

        // Under the row's own button the form has what the account has.
        var list = WebUtility.HtmlDecode(await visitor.PageAsync("/accounts"));
        Assert.Contains($"href=\"/accounts?edit={id}#new-head\"", list, StringComparison.Ordinal);
        var form = WebUtility.HtmlDecode(await visitor.PageAsync($"/accounts?edit={id}"));
        Assert.Contains($"name=\"email\" value=\"{email}\"", form, StringComparison.Ordinal);
        Assert.Contains("name=\"site\" value=\"S01\" checked", form, StringComparison.Ordinal);
        Assert.Contains("name=\"site\" value=\"S02\" checked", form, StringComparison.Ordinal);
        Assert.DoesNotContain("name=\"site\" value=\"S03\" checked", form, StringComparison.Ordinal);

        // Nothing ticked is refused where it is, in the words of a page.
        const string add = "/accounts?handler=Add";
        (string, string) librarian = ("group", "Librarian");
        var none = await visitor.RefusedAsync("/accounts", add, ("edit", $"{id}"), ("email", email), librarian);
        Assert.Contains("tick one at least", none, StringComparison.Ordinal);
        Assert.Contains("Change what one may do", none, StringComparison.Ordinal);

        // The address typed anew: what went and what came is said, with the link of an account that has no password yet.
        var changed = await visitor.RefusedAsync("/accounts", add, ("email", email), librarian, ("site", "S02"), ("site", "S03"));
        Assert.Contains(
            $"{email} was Librarian at {names["S01"]}, {names["S02"]} until now and is Librarian at {names["S02"]}, {names["S03"]} from now on. Taken away: {names["S01"]}. Given: {names["S03"]}.",
            changed,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "nothing was changed",
            await visitor.RefusedAsync("/accounts", add, ("email", email), librarian, ("site", "S02"), ("site", "S03")),
            StringComparison.Ordinal
        );

        // Rows are found by what they show: the names of sites.
        Assert.Contains(email, await visitor.PageAsync($"/accounts?q={Uri.EscapeDataString(names["S03"])}"), StringComparison.Ordinal);
        Assert.DoesNotContain(
            email,
            await visitor.PageAsync($"/accounts?q={Uri.EscapeDataString(names["S01"])}"),
            StringComparison.Ordinal
        );

        // A form that was opened before somebody else changed the account overwrites nothing, until it is saved knowing that.
        (string, string)[] typed = [("edit", $"{id}"), ("email", email), librarian, ("site", "S01")];
        (string, string)[] old = [("wasGroup", "Librarian"), ("wasSites", "S01,S02")];
        var stale = await visitor.RefusedAsync("/accounts", add, [.. typed, .. old]);
        Assert.Contains($"it is Librarian at {names["S02"]}, {names["S03"]} now", stale, StringComparison.Ordinal);
        Assert.Contains("name=\"site\" value=\"S01\" checked", stale, StringComparison.Ordinal);
        Assert.Contains("name=\"wasSites\" value=\"S02,S03\"", stale, StringComparison.Ordinal);
        Assert.Equal("S02,S03", (await PlacesAsync()).Single());

        // Refused for another reason it is the same form still.
        var untouched = await visitor.RefusedAsync("/accounts", add, [typed[0], typed[1], librarian, .. old]);
        Assert.Contains("name=\"wasSites\" value=\"S01,S02\"", untouched, StringComparison.Ordinal);
        await visitor.RefusedAsync("/accounts", add, [.. typed, ("wasGroup", "Librarian"), ("wasSites", "S02,S03")]);
        Assert.Equal("S01", (await PlacesAsync()).Single());

        // Taken out meanwhile, it is not brought back by the way.
        await visitor.SubmitAsync("/accounts", "/accounts?handler=Remove", ("id", $"{id}"));
        var gone = await visitor.RefusedAsync("/accounts", add, [.. typed, ("wasGroup", "Librarian"), ("wasSites", "S01")]);
        Assert.Contains("taken out of the district meanwhile", gone, StringComparison.Ordinal);
        Assert.Contains("Add an account", gone, StringComparison.Ordinal);
        Assert.Empty(await PlacesAsync());
        async Task<IReadOnlyList<string?>> PlacesAsync() =>
            [
                .. (await library.Service<Rollcall.SignIn.Accounts>().ListAsync(library.District.Id))
                    .Where(a => a.Id == id)
                    .SelectMany(a => a.Memberships)
                    .Select(m => m.Sites),
            ];
    }

    [Fact]
    public async Task A_site_gets_its_own_numbers_as_the_district_has_them_then_and_keeps_those_it_has()
    {
        using var visitor = new Visitor(library.Url);
        var before = await SettingsAsync();
        const string holds = $"{Page}/holds";
        const string save = $"{holds}?handler=Holds";
        Assert.Contains("name=\"own\" value=\"yes\"", await visitor.PageAsync(holds), StringComparison.Ordinal);
        (string, string)[] give = [("site", "S02"), ("own", "yes")];
        (string, string)[] numbers = [("kind", "transfers"), ("count", "21"), ("percent", "4")];
        await visitor.SubmitAsync(holds, save, numbers);
        await visitor.SubmitAsync(holds, save, give);
        var site = (await library.Service<SiteService>().ListAsync(library.District.Id)).First(s => s.Code == "S02").Id;
        Assert.Equal(new Threshold(4, 21), (await SettingsAsync()).Thresholds.Sites[site].Transfers);
        await visitor.SubmitAsync(holds, save, [("site", "S02"), ("kind", "transfers"), ("count", "5"), ("percent", "50")]);
        await visitor.SubmitAsync(holds, save, give);
        Assert.Contains("has numbers of its own already", await visitor.PageAsync(holds), StringComparison.Ordinal);
        Assert.Equal(new Threshold(50, 5), (await SettingsAsync()).Thresholds.Sites[site].Transfers);
        await library
            .Service<IntegrationService>()
            .ConfigureAsync(
                library.District.Id,
                IntegrationKind.ClassLink,
                "test",
                "as before",
                s => s with { Thresholds = before.Thresholds }
            );
    }

    [Fact]
    public async Task A_pause_to_the_end_of_all_days_breaks_no_page()
    {
        using var visitor = new Visitor(library.Url);
        var before = await SettingsAsync();
        Task SetAsync(DailyOperations daily) =>
            library
                .Service<IntegrationService>()
                .ConfigureAsync(library.District.Id, IntegrationKind.ClassLink, "test", "pause", s => s with { Daily = daily });
        await SetAsync(
            before.Daily with
            {
                At = new TimeOnly(4, 0),
                StoppedBecause = null,
                Pauses = [new PauseDates(new DateOnly(2026, 1, 1), DateOnly.MaxValue)],
            }
        );
        await visitor.PageAsync("/");
        Assert.Contains("Nothing runs by itself", await visitor.PageAsync($"{Page}/schedule"), StringComparison.Ordinal);
        await SetAsync(before.Daily);
    }

    [Fact]
    public async Task The_dashboard_draws_what_syncs_did_and_a_OneRoster_server_has_its_own_page()
    {
        using var visitor = new Visitor(library.Url);
        var dashboard = await visitor.PageAsync("/");
        Assert.Contains("<svg class=\"chart\"", dashboard, StringComparison.Ordinal);
        Assert.Contains("role=\"img\"", dashboard, StringComparison.Ordinal);
        Assert.Contains("Last syncs", dashboard, StringComparison.Ordinal);
        Assert.Contains("By site", await visitor.PageAsync("/operations/1"), StringComparison.Ordinal);
        Assert.Contains("No line fits", await visitor.PageAsync("/operations/1?q=nobody-at-all"), StringComparison.Ordinal);
        const string other = "/preferences/sis/oneroster";
        Assert.Contains("Address of the roster server", await visitor.PageAsync(other), StringComparison.Ordinal);
        var refused = await visitor.RefusedAsync(
            other,
            $"{other}?handler=Connect",
            ("mode", "ClientCredentials"),
            ("url", "https://x.example")
        );
        Assert.Contains("token address is missing", refused, StringComparison.Ordinal);
        Assert.Contains("https://x.example", refused, StringComparison.Ordinal);
    }
}
