using System.Text;
using Rollcall.OneRoster.Csv;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;
using Rollcall.Sandbox;

namespace Rollcall.OneRoster.Tests.Csv;

/// <summary>From files to the roster's normal form.</summary>
public sealed class SourceTests
{
    private static CsvPackage Read(Folder folder, string name, Bundle bundle) =>
        CsvPackage.Read(
            folder.Write(name, bundle.ToZip()),
            DateTimeOffset.UnixEpoch,
            cancellationToken: TestContext.Current.CancellationToken
        );

    private static async Task<(List<T> Records, WalkResult Result)> AllAsync<T>(ICollectionWalk<T> walk)
    {
        var all = new List<T>();
        await foreach (var page in walk.ReadAsync(TestContext.Current.CancellationToken))
        {
            all.AddRange(page.Records);
        }

        return (all, walk.Result);
    }

    private static string Role(UserRole r) => $"{r.Role}@{r.Org}{(r.Primary ? "!" : "")}";

    [Theory]
    [InlineData("1.0")]
    [InlineData("1.1")]
    [InlineData("1.2")]
    public async Task All_versions_give_the_same_people(string version)
    {
        using var folder = new Folder();
        using var source = new CsvRosterSource([Read(folder, "a.zip", Bundle.Of(version))]);
        var (users, result) = await AllAsync(source.Users());
        Assert.Equal(4, result.Rows);
        Assert.False(result.Partial);
        var amy = users[0];
        Assert.Equal(
            ("u1", "Amy", "Archer", "amy", "17", "amy@example.org", "555-1"),
            (amy.SourcedId, amy.GivenName, amy.FamilyName, amy.Username, amy.Identifier, amy.Email, amy.Phone)
        );
        Assert.Equal(["u4"], amy.Agents!);
        Assert.Equal(RecordStatus.Active, amy.Status);
        Assert.Equal(version == "1.2" ? ["student@s1!"] : (string[])["student@s1!", "student@s2"], amy.Roles.Select(Role));
        Assert.Equal(version == "1.2" ? ["student@s2!", "student@s1"] : (string[])["student@s2!"], users[1].Roles.Select(Role));
        Assert.Equal(version == "1.2", amy.HasRoleList);
        if (version == "1.0")
        {
            Assert.Null(amy.MiddleName);
            Assert.Null(amy.Grades);
        }
        else
        {
            Assert.Equal("Jo", amy.MiddleName);
            Assert.Equal([new UserId("Local", "17"), new UserId("State", "99")], amy.UserIds!);
            Assert.Equal(["02", "03"], users[1].Grades!);
            Assert.Equal(version == "1.2", users[1].Enabled);
        }

        if (version == "1.2")
        {
            Assert.Equal(("Ames", "s1"), (amy.PreferredFirstName, amy.PrimaryOrg));
            Assert.Equal((new DateOnly(2026, 8, 1), new DateOnly(2027, 6, 15)), (amy.Roles[0].Begin!.Value, amy.Roles[0].End!.Value));
        }

        Assert.Equal(["Lake District", "North School", "South, School"], (await AllAsync(source.Orgs())).Records.Select(o => o.Name!));
        var demographics = Assert.Single((await AllAsync(source.Demographics())).Records);
        Assert.Equal(("u1", new DateOnly(2018, 3, 4), "female"), (demographics.SourcedId, demographics.BirthDate!.Value, demographics.Sex));
        var (classes, _) = await AllAsync(source.Classes());
        Assert.Equal(
            ("homeroom", "HR1", "Room 7", "s1"),
            (classes[0].ClassType, classes[0].ClassCode, classes[0].Location, classes[0].School)
        );
        Assert.Equal(["y1", "t1"], classes[0].Terms!);
        var (enrollments, _) = await AllAsync(source.Enrollments());
        Assert.Equal(
            ("k1", "u3", "teacher", true),
            (enrollments[1].Class, enrollments[1].User, enrollments[1].Role, enrollments[1].Primary)
        );
        Assert.Equal(2, (await AllAsync(source.AcademicSessions())).Records.Count);
    }

    [Theory]
    [InlineData("utf-8", false)]
    [InlineData("utf-8", true)]
    [InlineData("utf-16", true)]
    [InlineData("utf-16BE", true)]
    [InlineData("utf-16", false)]
    [InlineData("iso-8859-1", false)]
    public async Task Names_are_read_in_any_encoding(string encoding, bool mark)
    {
        using var folder = new Folder();
        var bundle = Bundle.Of("1.1");
        var text = bundle.Files["users.csv"].Replace("Amy,Archer", "Zoë,Ñandú", StringComparison.Ordinal);
        var how = Encoding.GetEncoding(encoding);
        bundle.Raw["users.csv"] = [.. mark ? how.GetPreamble() : [], .. how.GetBytes(text)];
        using var source = new CsvRosterSource([Read(folder, "a.zip", bundle)]);
        var (users, _) = await AllAsync(source.Users());
        Assert.Equal(("Zoë", "Ñandú"), (users[0].GivenName, users[0].FamilyName));
    }

    /// <summary>1.2 says who is what in roles.csv; a role that an export left in users.csv beside it is a leftover, as beside REST's list.</summary>
    [Fact]
    public async Task Roles_csv_decides_where_users_still_have_a_role()
    {
        using var folder = new Folder();
        static Bundle Leftover(Bundle bundle) =>
            bundle.Put(
                "users.csv",
                Bundle.Lines([
                    .. bundle
                        .Files["users.csv"]
                        .Split("\r\n", StringSplitOptions.RemoveEmptyEntries)
                        .Select((line, i) => line + (i == 0 ? ",orgSourcedIds,role" : ",s1,teacher")),
                ])
            );
        using var package = Read(folder, "a.zip", Leftover(Bundle.Of("1.2")));
        Assert.Equal(CsvVersion.V12, package.Version);
        using var source = new CsvRosterSource([package]);
        var (users, _) = await AllAsync(source.Users());
        Assert.Equal(["student@s2!", "student@s1"], users[1].Roles.Select(Role));
        Assert.All(users, u => Assert.True(u.HasRoleList));

        // A later package that brings no roles changes none; one that brings them over a complete one of 1.1 leaves the others their own.
        var delta = Leftover(Bundle.Of("1.2", delta: true))
            .Without("roles.csv")
            .With("manifest.csv", "file.roles,delta", "file.roles,absent");
        using var later = new CsvRosterSource([Read(folder, "a.zip", Leftover(Bundle.Of("1.2"))), Read(folder, "b.zip", delta)]);
        (users, _) = await AllAsync(later.Users());
        Assert.Equal(["student@s2!", "student@s1"], users[1].Roles.Select(Role));

        var roles = Bundle.Of("1.2", delta: true);
        roles.Put("roles.csv", Bundle.Lines([.. roles.Files["roles.csv"].Split("\r\n").Take(2)]));
        roles.Without("users.csv").With("manifest.csv", "file.users,delta", "file.users,absent");
        using var mixed = new CsvRosterSource([Read(folder, "c.zip", Bundle.Of("1.1")), Read(folder, "d.zip", roles)]);
        (users, _) = await AllAsync(mixed.Users());
        Assert.Equal(["student@s1!"], users[0].Roles.Select(Role));
        Assert.Equal(["student@s2!"], users[1].Roles.Select(Role));
        Assert.Equal(["teacher@s1!"], users[2].Roles.Select(Role));
    }

    /// <summary>A file says who is gone, and what sex somebody is, in every way in which a server may.</summary>
    [Theory]
    [InlineData("to_be_deleted", RecordStatus.ToBeDeleted, "x", "other")]
    [InlineData("To Be Deleted", RecordStatus.ToBeDeleted, "O", "other")]
    [InlineData("deleted", RecordStatus.ToBeDeleted, "U", "unspecified")]
    [InlineData("\u200btobedeleted\u00a0", RecordStatus.ToBeDeleted, "\u200bmale", "male")]
    [InlineData("Active", RecordStatus.Active, "ext:nonbinary", "other")]
    [InlineData("gone", RecordStatus.Active, "?", null)]
    public async Task Words_are_read_as_those_of_a_server(string status, RecordStatus read, string sex, string? known)
    {
        using var folder = new Folder();
        var bundle = Bundle.Of("1.2").With("users.csv", "u1,,", $"u1,{status},").With("demographics.csv", "female", sex);
        using var source = new CsvRosterSource([Read(folder, "a.zip", bundle)]);
        Assert.Equal(read, (await AllAsync(source.Users())).Records[0].Status);
        Assert.Equal(known, (await AllAsync(source.Demographics())).Records[0].Sex);
    }

    [Fact]
    public async Task A_delta_lies_over_the_complete_package()
    {
        using var folder = new Folder();
        var delta = Bundle.Of("1.2", delta: true);
        const string State = "active,2026-02-03T04:05:06.000Z";
        const string Gone = "tobedeleted,2026-02-03T04:05:06.000Z";
        delta.Files["users.csv"] =
            delta.Files["users.csv"].Split("\r\n")[0]
            + $"\r\nu1,{State},true,amy,,Amelia,Archer,,,,,,,,,,,,,,\r\nu2,{Gone},true,ben,,Ben,Baker,,,,,,,,,,,,,,\r\nu9,{State},true,zed,,Zed,Zorn,,,,,,,,,,,,,,\r\nu8,,,true,no,,No,State,,,,,,,,,,,,,,\r\n";
        delta.Files["roles.csv"] =
            delta.Files["roles.csv"].Split("\r\n")[0]
            + $"\r\nr1,{Gone},u1,primary,student,,,s1,\r\nr7,{State},u1,primary,student,,,s2,\r\nr8,{State},u9,primary,student,,,s2,\r\nr2,{Gone},u2,secondary,student,,,s1,\r\nr3,{Gone},u2,primary,student,,,s2,\r\n";
        using var source = new CsvRosterSource([Read(folder, "a.zip", Bundle.Of("1.2")), Read(folder, "b.zip", delta)]);
        Assert.True(source.HasAllPeople);
        var (users, result) = await AllAsync(source.Users());
        Assert.False(result.Partial);
        Assert.Equal(["u3", "u4", "u1", "u2", "u9"], users.Select(u => u.SourcedId!));
        Assert.Equal(RecordStatus.ToBeDeleted, users[3].Status);

        // Ben's roles went with him: he is still known as the student he was.
        Assert.Equal(["student@s2!", "student@s1"], users[3].Roles.Select(Role));
        Assert.All(users[3].Roles, r => Assert.Equal(DateOnly.MinValue, r.End));
        Assert.Equal("Amelia", users[2].GivenName);
        Assert.Equal(["student@s2!"], users[2].Roles.Select(Role));
        Assert.Equal(["teacher@s1!"], users[0].Roles.Select(Role));

        using var alone = new CsvRosterSource([Read(folder, "c.zip", delta)]);
        Assert.False(alone.HasAllPeople);
        Assert.True((await AllAsync(alone.Users())).Result.Partial);
        Assert.Equal(["u1", "u9", "u2"], alone.RolesByUser().Select(r => r.User));
    }

    /// <summary>Columns of a fixed width come padded.</summary>
    [Fact]
    public async Task Blanks_around_keys_and_references_do_not_count()
    {
        using var folder = new Folder();
        var bundle = Bundle
            .Of("1.2")
            .With("users.csv", "u2,,,true", "u2  ,,,true")
            .With("roles.csv", "r3,,,u2,primary,student,,,s2,", "r3,,, u2,primary,student,,,s2 ,")
            .With("enrollments.csv", "e2,,,k1,s1,u3", "e2,,,k1 ,s1,u3 ")
            .With("classes.csv", "Room 7,s1", "Room 7, s1");
        bundle.Append("users.csv", "u3 ,active,2026-05-01T00:00:00.000Z,true,cora,,Later,Clark,,,,,,,,,,,,,,");
        using var source = new CsvRosterSource([Read(folder, "a.zip", bundle)]);
        var (users, _) = await AllAsync(source.Users());
        Assert.Equal(["u1", "u2", "u4", "u3"], users.Select(u => u.SourcedId!));
        Assert.Equal("Later", users[3].GivenName);
        Assert.Equal(["student@s2!", "student@s1"], users[1].Roles.Select(Role));
        Assert.Equal(["u1", "u2", "u3", "u4"], source.RolesByUser().Select(r => r.User));
        var enrollment = (await AllAsync(source.Enrollments())).Records[1];
        Assert.Equal(("k1", "u3"), (enrollment.Class, enrollment.User));
        Assert.Equal("s1", (await AllAsync(source.Classes())).Records[0].School);
    }

    /// <summary>Dates on every row are no proof of a delta where everybody has a role.</summary>
    [Fact]
    public async Task Roles_of_everybody_beside_complete_users_are_complete()
    {
        using var folder = new Folder();
        var bundle = Bundle
            .Of("1.2")
            .Put("roles.csv", Bundle.Of("1.2", delta: true).Files["roles.csv"])
            .With("manifest.csv", "file.roles,bulk\r\n", "");
        using var package = Read(folder, "a.zip", bundle);
        Assert.True(package.IsUsable && package.HasAllPeople);
        using var source = new CsvRosterSource([package]);
        Assert.True(source.HasAllRoles);
        Assert.Equal(["student@s2!", "student@s1"], (await AllAsync(source.Users())).Records[1].Roles.Select(Role));
    }

    [Fact]
    public async Task Of_two_rows_with_one_key_the_later_date_counts()
    {
        using var folder = new Folder();
        var bundle = Bundle.Of("1.1");
        bundle.Append("users.csv", "u2,active,2026-05-01T00:00:00.000Z,true,s2,student,ben,,Late,Baker,,,,,,,,");
        bundle.Append("users.csv", "u2,active,2026-04-01T00:00:00.000Z,true,s2,student,ben,,Early,Baker,,,,,,,,");
        using var source = new CsvRosterSource([Read(folder, "a.zip", bundle)]);
        var (users, result) = await AllAsync(source.Users());
        Assert.Equal("Late", Assert.Single(users, u => u.SourcedId == "u2").GivenName);
        Assert.Equal(2, result.Duplicates);
    }

    [Fact]
    public async Task Files_that_change_while_they_are_read_are_no_roster()
    {
        using var folder = new Folder();
        var path = Path.Combine(folder.Path, "feed");
        Bundle.Of("1.1").ToFolder(path);
        using var source = new CsvRosterSource([
            CsvPackage.Read(path, DateTimeOffset.UnixEpoch, cancellationToken: TestContext.Current.CancellationToken),
        ]);
        File.AppendAllText(Path.Combine(path, "users.csv"), "u7,,,true,\"cut");
        var e = await Assert.ThrowsAsync<RosterException>(() => AllAsync(source.Users()));
        Assert.Equal(RosterFault.Incomplete, e.Fault);
        Assert.Contains("changed while they were being read", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1.0", false)]
    [InlineData("1.1", false)]
    [InlineData("1.2", false)]
    [InlineData("1.1", true)]
    [InlineData("1.2", true)]
    public void What_the_sandbox_writes_is_right(string version, bool delta)
    {
        using var folder = new Folder();
        var options = new SandboxOptions { Students = 60, Schools = 2 };
        var path = SandboxCsv.Write(options, 2, new SandboxCsvOptions { Version = version, Delta = delta }, folder.Path);
        using var package = CsvPackage.Read(path, DateTimeOffset.UnixEpoch, cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal([], package.Findings.Where(f => f.Severity > CsvSeverity.Deviation).Select(f => f.ToString()));
        Assert.Equal("Success", package.Report.Status);
    }

    public static TheoryData<string> SandboxFaults => [.. SandboxCsv.Faults.Keys];

    [Theory]
    [MemberData(nameof(SandboxFaults))]
    public void Each_fault_of_the_sandbox_is_noticed(string fault)
    {
        using var folder = new Folder();
        var csv = new SandboxCsvOptions { Version = fault == "roles-in-userprofiles" ? "1.2" : "1.1", Faults = [fault] };
        var path = SandboxCsv.Write(new SandboxOptions { Students = 30, Schools = 1 }, 0, csv, folder.Path);
        using var package = CsvPackage.Read(path, DateTimeOffset.UnixEpoch, cancellationToken: TestContext.Current.CancellationToken);

        // RFC 4180 allows these.
        Assert.Equal(fault is "bom" or "lf" or "quoted", package.Findings.Count == 0);
    }

    [Fact]
    public async Task A_folder_is_looked_into_once_it_is_left_alone()
    {
        using var folder = new Folder();
        var feed = new CsvFeed(folder.Path, TimeProvider.System, TimeSpan.FromMilliseconds(50), TimeSpan.FromSeconds(30));
        var missing = new CsvFeed(Path.Combine(folder.Path, "nowhere"), TimeProvider.System);
        Assert.Contains(
            "does not exist",
            (await Assert.ThrowsAsync<RosterException>(() => missing.ListAsync(TestContext.Current.CancellationToken))).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "neither CSV files nor zip archives",
            (await Assert.ThrowsAsync<RosterException>(() => feed.ListAsync(TestContext.Current.CancellationToken))).Message,
            StringComparison.Ordinal
        );
        folder.Write("b.zip", Bundle.Of("1.1").ToZip());
        File.SetLastWriteTimeUtc(Path.Combine(folder.Path, "b.zip"), new DateTime(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        folder.Write("a.zip", Bundle.Of("1.2").ToZip());
        folder.Write("c.zip.part", [1, 2, 3]);
        folder.Write(".d.zip", [1, 2, 3]);
        Assert.Equal(["b.zip", "a.zip"], (await feed.ListAsync(TestContext.Current.CancellationToken)).Select(p => p.Name));
        folder.Write("users.csv", [1]);
        Assert.Contains(
            "side by side",
            (await Assert.ThrowsAsync<RosterException>(() => feed.ListAsync(TestContext.Current.CancellationToken))).Message,
            StringComparison.Ordinal
        );
    }
}
