using System.Text.Json.Nodes;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Sync;
using Rollcall.Sync.Apply;
using Rollcall.Sync.Plan;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>Single rules of matching, writing and holding that no larger story shows by itself.</summary>
public sealed class RulesTests(PostgresCluster cluster)
{
    private static readonly FieldMap s_map = new()
    {
        CommunityId = new IdMapping(IdSource.Identifier),
        Barcode = new IdMapping(IdSource.UserIdType, "Card"),
    };

    private async Task<Installation> StartAsync(Db db, TimeProvider? time = null)
    {
        var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 40, Schools = 2 }, time);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = s_map });
        return system;
    }

    private static async Task<SyncCounts> SyncAsync(Installation system)
    {
        var operation = await system.SyncAsync();
        Assert.Null(operation.Error);
        var counts = OperationQueue.CountsOf(operation);
        Assert.True(counts.AddUp, operation.Counts);
        return counts;
    }

    [Fact]
    public async Task No_blank_of_any_kind_ever_matches()
    {
        string[] blanks =
        [
            "",
            " ",
            "\t\n",
            "\u00A0",
            "\u200B",
            "\u200C\u200D",
            "\uFEFF",
            "\u2060",
            "\u3000 \u2003",
            "\u202F\u205F",
            "\u200E",
            "\u061C\u202B",
            "\u3164",
            "\u115F\u1160",
            "\uFFA0",
            "\u2800",
            "\u034F\uFE0F",
            "\U000E0020\u180B",
        ];
        await using var system = await StartAsync(Db.Sqlite);

        // So many namesakes would wait for an approval.
        await system.ConfigureAsync(s => s with { Thresholds = s.Thresholds with { Creates = new(100, 1000) } });
        await system.ImportAsync(
            "barcode,communityId,lastName,firstName,email,site\n"
                + string.Concat(
                    blanks.Select(
                        (blank, i) => $"OLD-{i}a,\"{blank}\",Alpha{i},Ann,\"{blank}\",S1\nOLD-{i}b,\"{blank}\",Beta{i},Ben,\"{blank}\",S1\n"
                    )
                )
        );
        foreach (var (blank, i) in blanks.Select((blank, i) => (blank, i)))
        {
            await system.Patrons.EditAsync(system.District.Id, $"OLD-{i}b", [new("communityId", blank), new("email", blank)], "librarian");
            system.Sandbox.Person($"u{i}a", "Ann", $"Alpha{i}", number: blank, email: blank, barcode: blank);
            system.Sandbox.Person($"u{i}b", "Ben", $"Beta{i}", number: blank, email: blank, barcode: blank);
        }

        var people = 2 * blanks.Length;
        var counts = await SyncAsync(system);
        Assert.Equal((people, 0, 0), (counts.Created, counts.Review, counts.Skipped));
        Assert.Equal(0, counts.LinkedStudentNumber + counts.LinkedBarcode + counts.LinkedEmail);
        var again = await SyncAsync(system);
        Assert.Equal((people, people), (again.Unchanged, again.LinkedGuid));
        Assert.All(await system.AllPatronsAsync(), p => Assert.True(p.CommunityId is null && p.Email is null));
    }

    /// <summary>Lists that were copied out of other programs carry marks that nobody sees.</summary>
    [Theory]
    [InlineData("\u200E")]
    [InlineData("\u2066")]
    [InlineData("\u3164")]
    [InlineData("\uFE0F")]
    public async Task No_key_fails_for_what_nobody_sees_in_it(string mark)
    {
        await using var system = await StartAsync(Db.Sqlite);
        await system.ImportAsync(
            $"barcode,communityId,lastName,firstName,email,site\nOLD-1,\"{mark}10{mark}01{mark}\",Alpha,Ann,,S1\n{mark}OLD{mark}-2{mark},,Beta,Ben,,S1\nOLD-3,,Gamma,Cid,{mark}cid@school.{mark}example{mark},S1\n"
        );
        Assert.Equal(["OLD-1", "OLD-2", "OLD-3"], (await system.AllPatronsAsync()).Select(p => p.Barcode).Order(StringComparer.Ordinal));
        system.Sandbox.Person("u1", "Ann", "Alpha", number: "1001");
        system.Sandbox.Person("u2", "Ben", "Beta", barcode: $"{mark}OLD-{mark}2{mark}");
        system.Sandbox.Person("u3", "Cid", $"{mark}Gam{mark}ma", email: $"cid@school{mark}.example{mark}");
        var counts = await SyncAsync(system);
        Assert.Equal((1, 1, 1, 0), (counts.LinkedStudentNumber, counts.LinkedBarcode, counts.LinkedEmail, counts.Created));
        var again = await SyncAsync(system);
        Assert.Equal((3, 3), (again.Unchanged, again.LinkedGuid));
    }

    [Fact]
    public async Task A_name_of_which_nothing_can_be_seen_is_none()
    {
        await using var system = await StartAsync(Db.Sqlite);
        system.Sandbox.Person("u1", "Ann", "\u3164");
        system.Sandbox.Person("u2", "Ben", "");
        await SyncAsync(system);
        Assert.DoesNotContain(await system.AllPatronsAsync(), p => p.LastName.Contains('\u3164', StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(SiteFrom.FirstOrg, null, "S2", "S1")]
    [InlineData(SiteFrom.FirstMatched, "S2", "S2", "S1")]
    [InlineData(SiteFrom.PrimaryOrg, "S2", "S2", "S2")]
    public async Task The_site_comes_from_the_org_that_the_district_chose(SiteFrom from, string? offRoll, string second, string both)
    {
        await using var system = await StartAsync(Db.Sqlite);
        await system.ConfigureAsync(s => s with { Map = s_map with { SiteFrom = from } });
        var (one, two) = (system.Sandbox.District.Schools.First().SourcedId, system.Sandbox.District.Schools.Last().SourcedId);
        system.Sandbox.Person("off", "Ann", "Off", orgs: ["not-matched", two]);
        system.Sandbox.Person("second", "Ben", "Second", orgs: [two, one]);
        system.Sandbox.Person("both", "Cid", "Both", orgs: [one, two]);
        foreach (var id in (string[])["off", "both"])
        {
            system.Sandbox.Overrides.Change("users", id, json => json["metadata"] = new JsonObject { ["primaryOrg"] = two });
        }

        await SyncAsync(system);
        var sites = (await system.Get<SiteService>().ListAsync(system.District.Id)).ToDictionary(s => s.Id, s => s.Code);
        var patrons = await system.PatronsByGuidAsync();
        string? SiteOf(string guid) => patrons.TryGetValue(guid, out var patron) ? sites[patron.SiteId!.Value] : null;
        Assert.Equal((offRoll, second, both), (SiteOf("off"), SiteOf("second"), SiteOf("both")));
    }

    [Theory]
    [InlineData("teacher:b parent:a", "b")]
    [InlineData("parent:a:primary teacher:b:primary", "b")]
    [InlineData("guardian:a teacher:c:primary teacher:b", "c b")]
    [InlineData("teacher:a:ended aide:b", "b")]
    [InlineData("teacher:a:ended:primary parent:b", "a")]
    [InlineData("teacher:c aide:b", "b c")]
    public void The_orgs_of_a_role_list_are_those_of_current_roles_and_never_a_guardians(string roles, string expected)
    {
        var today = new DateOnly(2026, 10, 1);
        var user = new OneRoster.Model.User
        {
            SourcedId = "u",
            HasRoleList = true,
            Roles =
            [
                .. roles
                    .Split(' ')
                    .Select(r => r.Split(':'))
                    .Select(r => new OneRoster.Model.UserRole(
                        r[0],
                        r[1],
                        r.Contains("primary"),
                        null,
                        r.Contains("ended") ? today.AddDays(-1) : null
                    )),
            ],
        };
        var orgs = new List<string>();
        new Mapper(new FieldMap()).Orgs(user, today, _ => true, orgs);
        Assert.Equal(expected, string.Join(' ', orgs));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Thresholds_of_a_site_hold_there_alone(Db db)
    {
        await using var system = await StartAsync(db);
        var schools = system.Sandbox.District.Schools.Select(s => s.SourcedId).ToArray();
        for (var i = 0; i < 12; i++)
        {
            system.Sandbox.Person($"u{i}", $"First{i}", $"Last{i}", orgs: [schools[i % 2]]);
        }

        await SyncAsync(system);
        var site = (await system.Get<SiteService>().ListAsync(system.District.Id)).Single(s => s.Code == "S2");
        await system.ConfigureAsync(s => SettingsChange.Threshold(s, "transfers", 0, 1, site.Id));
        system.Sandbox.Overrides.Remove("users", "u0", "u1");
        var operation = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, operation.Status);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal((PatronStatus.Transferred, PatronStatus.Active), (patrons["u0"].Status, patrons["u1"].Status));
    }

    /// <summary>New people who share a name are measured against all people there, the new ones among them.</summary>
    [Theory]
    [InlineData(Db.Sqlite, 24, 1, true)]
    [InlineData(Db.Sqlite, 25, 1, false)]
    [InlineData(Db.Postgres, 25, 1, false)]
    [InlineData(Db.Postgres, 0, 2, true)]
    [InlineData(Db.Sqlite, 0, 3, false)]
    public async Task Both_numbers_count_for_new_people_of_a_known_name(Db db, double percent, int count, bool held)
    {
        await using var system = await StartAsync(db);
        for (var i = 0; i < 4; i++)
        {
            system.Sandbox.Person($"u{i}", $"First{i}", $"Last{i}");
        }

        await SyncAsync(system);
        await system.ImportAsync("barcode,lastName,firstName,site\nOLD1,Twin1,Tom,S1\nOLD2,Twin2,Tom,S1\n");
        await system.ConfigureAsync(s => SettingsChange.Threshold(s, "creates", percent, count, null));

        // Of eight people two are new and share a name: 25 %.
        foreach (
            var (id, given, family) in new[] { ("n1", "Tom", "Twin1"), ("n2", "Tom", "Twin2"), ("n3", "New", "One"), ("n4", "New", "Two") }
        )
        {
            system.Sandbox.Person(id, given, family);
        }

        var operation = await system.SyncAsync();
        Assert.Equal(held ? 2 : 0, OperationQueue.CountsOf(operation).Held);
        Assert.Equal(held, operation.Status == OperationStatus.NeedsApproval);
    }

    [Fact]
    public async Task Every_change_that_decides_about_people_forces_a_full_sync_once()
    {
        var clock = new ShiftedTime(new DateTimeOffset(2026, 10, 1, 4, 0, 0, TimeSpan.Zero));
        await using var system = await StartAsync(Db.Sqlite, clock);
        system.Sandbox.Person("u1", "Ann", "Alpha");
        await SyncAsync(system);
        var second = system.Sandbox.District.Schools.Last().SourcedId;
        (string What, Func<Task> Do)[] changes =
        [
            ("roles", () => system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student] })),
            ("mapping", () => system.ConfigureAsync(s => s with { Map = s.Map with { CommunityId = new IdMapping() } })),
            ("policy", () => system.ConfigureAsync(s => SettingsChange.Field(s, "phone", "library", null))),
            ("blank rule", () => system.ConfigureAsync(s => SettingsChange.Field(s, "email", null, "clear"))),
            ("grades", () => system.ConfigureAsync(s => SettingsChange.Grade(s, "05", "5"))),
            ("site from", () => system.ConfigureAsync(s => SettingsChange.SiteFrom(s, "first-matched"))),
            ("unmatch", () => system.Integrations.UnmatchAsync(system.District, IntegrationKind.ClassLink, second, "test")),
            ("match", () => system.Integrations.MatchAsync(system.District, IntegrationKind.ClassLink, "S2", second, "test")),
        ];
        foreach (var (what, act) in changes)
        {
            Assert.Equal(OperationKind.ChangesSync, (await system.SyncAsync(kind: OperationKind.ChangesSync)).Kind);
            await act();
            var forced = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.True(forced is { Kind: OperationKind.FullSync, Error: null }, $"{what}: {forced.Kind} {forced.Error}");
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Settings_that_several_people_change_at_once_all_stay(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("u1", "Ann", "Alpha");
        await SyncAsync(system);
        var before = IntegrationService.StateOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink));
        await Task.WhenAll(
            Enumerable.Range(1, 12).Select(i => Task.Run(() => system.ConfigureAsync(s => SettingsChange.Grade(s, $"from{i}", $"to{i}"))))
        );
        var row = await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink);
        Assert.Equal(12, IntegrationService.SettingsOf(row).Map.Grades.Count);
        Assert.Equal(before.ConfigVersion + 12, IntegrationService.StateOf(row).ConfigVersion);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Settings_that_change_while_a_sync_runs_still_force_a_full_one(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("u1", "Ann", "Alpha");
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        var changed = false;
        await system
            .Get<OperationWorker>()
            .WorkAsync(
                id,
                (stage, _, _, _) =>
                {
                    if (stage == OperationStage.Applying && !changed)
                    {
                        changed = true;
                        Task.Run(() => system.ConfigureAsync(s => SettingsChange.Grade(s, "05", "5"))).GetAwaiter().GetResult();
                    }
                },
                CancellationToken.None
            );
        Assert.True(changed);
        Assert.Null((await system.Queue.GetAsync(system.District.Id, id)).Error);
        var row = await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink);
        Assert.NotNull(IntegrationService.StateOf(row).FullDue);
        var next = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal(OperationKind.FullSync, next.Kind);
        Assert.Equal("5", (await system.PatronsByGuidAsync())["u1"].Level);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_worker_that_lost_its_operation_adds_nothing_to_the_plan(Db db)
    {
        await using var system = await StartAsync(db);
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        var old = await system.Queue.ClaimAsync("one", id, aloneHere: true, CancellationToken.None);
        var present = await system.Queue.ClaimAsync("two", id, aloneHere: true, CancellationToken.None);
        Assert.True(present!.Fence > old!.Fence);
        await using var connection = await system.Database.OpenAsync();
        foreach (var (worker, rows) in ((Operation, int)[])[(old, 0), (present, 1)])
        {
            var writer = new ChangeWriter(system.Database, connection, system.District.Id, id, worker.Fence);
            await writer.AddAsync(new Change { Kind = ChangeKind.Note }, CancellationToken.None);
            if (rows == 0)
            {
                await Assert.ThrowsAsync<FencedOffException>(() => writer.FlushAsync(CancellationToken.None));
                await Assert.ThrowsAsync<FencedOffException>(() => system.Queue.DeletePlanAsync(worker, CancellationToken.None));
            }
            else
            {
                await writer.FlushAsync(CancellationToken.None);
            }

            await using var context = system.Database.CreateContext();
            Assert.Equal(rows, await context.Changes.CountAsync(c => c.OperationId == id));
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_was_left_out_before_a_crash_is_still_told_at_the_end(Db db)
    {
        await using var system = await StartAsync(db);
        for (var i = 0; i < 6; i++)
        {
            system.Sandbox.Person($"u{i}", $"First{i}", $"Last{i}", phone: "1");
        }

        await SyncAsync(system);
        for (var i = 0; i < 6; i++)
        {
            system.Sandbox.Person($"u{i}", $"First{i}", $"Last{i}", phone: "2");
        }

        var preview = await system.SyncAsync(preview: true);
        Assert.Equal(6, OperationQueue.CountsOf(preview).Updated);
        var barcode = (await system.PatronsByGuidAsync())["u3"].Barcode;
        await system.Patrons.EditAsync(system.District.Id, barcode, [new("phone", "by hand")], "librarian");
        await system.Queue.ApproveAsync(system.District.Id, preview.Id, "test");

        // The worker ends after the rows are written, and before it says so.
        using var stop = new CancellationTokenSource();
        var applying = 0;
        await system
            .Get<OperationWorker>()
            .WorkAsync(
                preview.Id,
                (stage, _, _, _) =>
                {
                    if (stage == OperationStage.Applying && ++applying == 1)
                    {
                        stop.Cancel();
                    }
                },
                stop.Token
            );
        Assert.Equal(OperationStatus.Waiting, (await system.Queue.GetAsync(system.District.Id, preview.Id)).Status);
        var end = await system.Follower.RunAsync(system.District.Id, preview.Id, null, CancellationToken.None);
        var counts = OperationQueue.CountsOf(end);
        Assert.True(counts is { AddUp: true, Updated: 5, Skipped: 1 }, end.Counts);
        Assert.Equal(1, Assert.Single(OperationQueue.WarningsOf(end), w => w.Code == "stale").Count);
        Assert.Equal("by hand", (await system.PatronsByGuidAsync())["u3"].Phone);
    }

    [Fact]
    public async Task Ended_roles_are_deleted_ones_and_one_current_ticked_role_is_enough()
    {
        await using var system = await Installation.StartAsync(
            cluster,
            Db.Sqlite,
            new SandboxOptions
            {
                Students = 40,
                Schools = 2,
                Api = SandboxApi.OneRoster12,
            }
        );
        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student] });
        await SyncAsync(system);
        var known = (await system.PatronsByGuidAsync()).Keys.Order(StringComparer.Ordinal).Take(4).ToArray();
        var three = known[..3];
        system.Sandbox.Overrides.Change("users", three[0], json => json["roles"]![0]!["endDate"] = "2020-06-30");
        system.Sandbox.Overrides.Change("users", three[1], json => json["roles"]![0]!["role"] = "teacher");
        system.Sandbox.Overrides.Change(
            "users",
            three[2],
            json =>
            {
                var more = json["roles"]![0]!.DeepClone();
                more["role"] = "teacher";
                ((JsonArray)json["roles"]!).Insert(0, more);
            }
        );

        // Between two roles nobody has left; before the first one nobody is here.
        system.Sandbox.Overrides.Change(
            "users",
            known[3],
            json =>
            {
                var next = json["roles"]![0]!.DeepClone();
                json["roles"]![0]!["endDate"] = "2020-06-30";
                next["beginDate"] = "2099-08-01";
                ((JsonArray)json["roles"]!).Add(next);
            }
        );
        var early = system.Sandbox.Overrides.Read("users", three[2])!;
        early["sourcedId"] = "early";
        early["roles"] = new JsonArray(early["roles"]![1]!.DeepClone());
        early["roles"]![0]!["beginDate"] = "2099-08-01";
        system.Sandbox.Overrides.Put("users", early);
        var operation = await system.SyncAsync();
        Assert.Null(operation.Error);
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((1, 0, 0), (counts.Transferred, counts.Absent, counts.Created));
        var line = Assert.Single(await system.LogAsync(operation.Id), r => r.Outcome == "transferred");
        Assert.Equal((three[0], "All roles in the roster have ended"), (line.Guid, line.Reason));
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(PatronStatus.Active, patrons[known[3]].Status);
        Assert.DoesNotContain("early", patrons.Keys);
        Assert.Equal(
            (PatronStatus.Transferred, PatronStatus.Active, PatronStatus.Active),
            (patrons[three[0]].Status, patrons[three[1]].Status, patrons[three[2]].Status)
        );
    }

    /// <summary>Whose guardian's part has ended is no guardian any more, and still somebody who could be read: the contact goes.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whose_roles_as_a_guardian_have_ended_is_no_contact(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("m", "Mum", "Byron", role: "parent", phone: "1");
        system.Sandbox.Person("f", "Dad", "Byron", role: "parent", phone: "2");
        system.Sandbox.Person("b", "Ben", "Byron", agents: ["m", "f"]);
        system.Sandbox.Person("c", "Cid", "Byron", agents: ["f"]);
        await SyncAsync(system);
        Assert.Equal("Dad Byron 2; Mum Byron 1", (await system.PatronsByGuidAsync())["b"].AdditionalContact);
        Guardian("f", "2020-01-01", "2020-06-30");
        Guardian("m", "2020-01-01", "2099-06-30");
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(("Mum Byron 1", null), (patrons["b"].AdditionalContact, patrons["c"].AdditionalContact));

        void Guardian(string id, string begin, string end) =>
            system.Sandbox.Overrides.Change(
                "users",
                id,
                json =>
                {
                    json.Remove("role");
                    json["roles"] = new JsonArray(
                        new JsonObject
                        {
                            ["role"] = "parent",
                            ["roleType"] = "primary",
                            ["org"] = new JsonObject { ["sourcedId"] = system.Sandbox.District.Schools.First().SourcedId },
                            ["beginDate"] = begin,
                            ["endDate"] = end,
                        }
                    );
                }
            );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Contacts_are_told_anew_only_where_the_people_were_read_whole(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("f", "Dad", "Byron", role: "parent", phone: "2", email: "dad@example.org");
        system.Sandbox.Person("m", "Mum", "Byron", role: "parent", phone: "1", email: "mum@example.org");
        system.Sandbox.Person("b", "Ben", "Byron", agents: ["m", "f"]);
        system.Sandbox.Person("c", "Cid", "Byron", agents: ["m"]);
        await SyncAsync(system);

        // Whose row this is nobody can tell.
        system.Sandbox.Overrides.Change("users", "f", json => json.Remove("sourcedId"));
        system.Sandbox.Overrides.Change("users", "m", json => json["phone"] = "9");
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(
            ("Dad Byron 2; Mum Byron 1", "dad@example.org; mum@example.org", "Mum Byron 9"),
            (patrons["b"].AdditionalContact, patrons["b"].OtherEmails, patrons["c"].AdditionalContact)
        );
        system.Sandbox.Overrides.Restore("users", [""]);
        await SyncAsync(system);
        patrons = await system.PatronsByGuidAsync();
        Assert.Equal(("Mum Byron 9", "mum@example.org"), (patrons["b"].AdditionalContact, patrons["b"].OtherEmails));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_sites_own_defaults_are_set_and_taken_away_again(Db db)
    {
        await using var system = await StartAsync(db);
        var sites = system.Get<SiteService>();
        var district = system.District.Id;
        await sites.SetAsync(district, "S1", new SiteChange(null, null, "KID", "Patron Limited", null), "test");
        await sites.SetAsync(district, "S1", new SiteChange(null, "T-001", "TCH", "Patron", RoleGroup.Teacher), "test");
        Assert.Single(await sites.DefaultsAsync(district));
        await sites.SetAsync(district, "S1", new SiteChange(null, "", null, " ", RoleGroup.Teacher), "test");
        var own = Assert.Single(await sites.DefaultsAsync(district));
        Assert.Equal((null, "TCH", null), (own.NextBarcode, own.Policy, own.Group));
        await sites.SetAsync(district, "S1", new SiteChange(null, null, "", null, RoleGroup.Teacher), "test");
        Assert.Empty(await sites.DefaultsAsync(district));
        await sites.SetAsync(district, "S1", new SiteChange(null, null, "", null, RoleGroup.Admin), "test");
        Assert.Empty(await sites.DefaultsAsync(district));

        var site = await sites.SetAsync(district, "S1", new SiteChange(null, null, "", "", null), "test");
        Assert.Equal((null, SecurityGroup.Patron), (site.DefaultPolicy, site.DefaultGroup));
        var refused = await Assert.ThrowsAsync<RollcallException>(() =>
            sites.SetAsync(district, "S1", new SiteChange(null, "", null, null, null), "test")
        );
        Assert.Contains("Next Barcode", refused.Message, StringComparison.Ordinal);
    }
}
