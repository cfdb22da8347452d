using System.Text;
using CsCheck;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Client;

public class PageReaderTests
{
    private static async Task<(User User, IReadOnlyDictionary<string, long> Leniencies)> UserAsync(string fields)
    {
        var (page, leniencies) = await Reading.PageAsync("users", RecordParsers.User, Body($$"""{"users":[{{{fields}}}]}"""));
        return (Assert.Single(page.Records), leniencies);
    }

    private static MemoryStream Body(string json) => new(Encoding.UTF8.GetBytes(json));

    [Fact]
    public async Task A_classlink_user_is_read_without_a_single_leniency()
    {
        var (user, leniencies) = await UserAsync(
            """
            "sourcedId":"12345","status":"active","dateLastModified":"2025-11-24T19:35:01.000Z","username":"ada.b",
            "userIds":[{"type":"Fed","identifier":"12345"},{"type":"StateID","identifier":"12494640776"}],"enabledUser":"true",
            "givenName":"Ada","familyName":"Brook","middleName":"M","role":"student","identifier":"22222","email":"ada.b@example.org",
            "sms":"1","phone":"","agents":[{"href":"x","sourcedId":"G333","type":"user"}],
            "orgs":[{"href":"x","sourcedId":"2","type":"org"},{"sourcedId":"3"}],"grades":["11"],"password":"p"
            """
        );

        Assert.Empty(leniencies);
        Assert.Equal("12345", user.SourcedId);
        Assert.Equal(new DateTimeOffset(2025, 11, 24, 19, 35, 1, TimeSpan.Zero), user.LastModified);
        Assert.Equal([new UserId("Fed", "12345"), new UserId("StateID", "12494640776")], user.UserIds);
        Assert.Equal([new UserRole("student", "2", true, null, null), new UserRole("student", "3", false, null, null)], user.Roles);
        Assert.False(user.HasRoleList);
        Assert.True(user.Enabled);
        Assert.Equal(["G333"], user.Agents);
        Assert.Equal(["11"], user.Grades);
        Assert.Equal("", user.Phone);
        Assert.Null(user.PreferredFirstName);
        Assert.Equal("Ada Brook M", $"{user.GivenName} {user.FamilyName} {user.MiddleName}");
    }

    [Fact]
    public async Task A_1_2_user_is_read_from_its_role_list()
    {
        var (user, leniencies) = await UserAsync(
            """
            "sourcedId":"1","roles":[{"roleType":"secondary","role":"student","org":{"sourcedId":"b"}},
            {"roleType":"primary\u200b","role":" \u200bstudent\u00a0 ","org":{"sourcedId":"a"},"beginDate":"2025-08-15","endDate":"2026-06-05","userProfile":"u"}],
            "userProfiles":[{"credentials":[{"password":"p"}]}],"primaryOrg":{"sourcedId":"a"},"preferredFirstName":"Al","metadata":{"x":{"y":[1]},"primaryOrg":"m"}
            """
        );

        Assert.Empty(leniencies);
        Assert.True(user.HasRoleList);
        Assert.Equal(
            [
                new UserRole("student", "b", false, null, null),
                new UserRole("student", "a", true, new DateOnly(2025, 8, 15), new DateOnly(2026, 6, 5)),
            ],
            user.Roles
        );
        Assert.Equal(("a", "m", "Al"), (user.PrimaryOrg, user.MetadataPrimaryOrg, user.PreferredFirstName));
    }

    /// <summary>Some servers say the roles of 1.2 and leave the schools where 1.1 has them.</summary>
    [Theory]
    [InlineData("""[{"role":"student","roleType":"primary"}]""", "student@a! student@b")]
    [InlineData(
        """[{"role":"teacher","roleType":"secondary"},{"role":"student","roleType":"primary"}]""",
        "teacher@a teacher@b student@a! student@b"
    )]
    [InlineData("""["student"]""", "student@a student@b")]
    [InlineData("""[{"role":"student","roleType":"primary","org":{"sourcedId":"c"}},{"role":"teacher"}]""", "student@c! teacher@")]
    public async Task Roles_without_any_school_are_at_those_of_the_person(string roles, string read)
    {
        var (user, _) = await UserAsync($"\"roles\":{roles},\"orgs\":[{{\"sourcedId\":\"a\"}},{{\"sourcedId\":\"b\"}}]");
        Assert.True(user.HasRoleList);
        Assert.Equal(read, string.Join(' ', user.Roles.Select(r => $"{r.Role}@{r.Org}{(r.Primary ? "!" : "")}")));
    }

    [Theory]
    [InlineData("\"true\"", true, null)]
    [InlineData("\"false\"", false, null)]
    [InlineData("\"False\"", false, "boolean-form")]
    [InlineData("\"FALSE \"", false, "boolean-form")]
    [InlineData("false", false, "boolean-form")]
    [InlineData("0", false, "boolean-form")]
    [InlineData("\"0\"", false, "boolean-form")]
    [InlineData("1", true, "boolean-form")]
    [InlineData("\"\\u200bfalse\\u00a0\"", false, "boolean-form")]
    [InlineData("\"perhaps\"", true, "unreadable-boolean")]
    [InlineData("{\"a\":[1]}", true, "unreadable-boolean")]
    [InlineData("null", true, null)]
    [InlineData("\"\"", true, null)]
    public async Task Booleans(string json, bool enabled, string? rule)
    {
        var (user, leniencies) = await UserAsync($"\"enabledUser\":{json},\"givenName\":\"after\"");
        Assert.Equal(enabled, user.Enabled);
        Assert.Equal("after", user.GivenName);
        Assert.Equal(rule is null ? [] : [rule], leniencies.Keys);
    }

    [Theory]
    [InlineData("\"active\"", RecordStatus.Active, null)]
    [InlineData("\"tobedeleted\"", RecordStatus.ToBeDeleted, null)]
    [InlineData("\"toBeDeleted\"", RecordStatus.ToBeDeleted, "status-spelling")]
    [InlineData("\"To-Be_Deleted \"", RecordStatus.ToBeDeleted, "status-spelling")]
    [InlineData("\"inactive\"", RecordStatus.ToBeDeleted, "status-spelling")]
    [InlineData("\"\\ufefftobedeleted\\u200b\"", RecordStatus.ToBeDeleted, "status-spelling")]
    [InlineData("\"\\u00a0\\u200b\"", RecordStatus.Active, "status-spelling")]
    [InlineData("\"Active\"", RecordStatus.Active, "status-spelling")]
    [InlineData("\"a status that nobody has ever heard of\"", RecordStatus.Active, "unknown-status")]
    [InlineData("\" \"", RecordStatus.Active, "status-spelling")]
    [InlineData("null", RecordStatus.Active, null)]
    public async Task Statuses(string json, RecordStatus status, string? rule)
    {
        var (user, leniencies) = await UserAsync($"\"status\":{json}");
        Assert.Equal(status, user.Status);
        Assert.Equal(rule is null ? [] : [rule], leniencies.Keys);
    }

    [Theory]
    [InlineData("\"orgs\":{\"sourcedId\":\"7\"}", "7", "list-as-object")]
    [InlineData("\"orgs\":[{\"sourceId\":\"7\"}]", "7", "ref-source-id")]
    [InlineData("\"orgs\":[\"7\"]", "7", "ref-as-text")]
    [InlineData("\"orgs\":\"7\"", "7", "ref-as-text")]
    [InlineData("\"orgs\":[{\"href\":\"x\"},{\"sourcedId\":\"7\"}]", "7", "unreadable-ref")]
    [InlineData("\"orgs\":[null,[[1]],{\"sourcedId\":\"7\"}]", "7", "unreadable-ref")]
    [InlineData("\"orgs\":[{\"sourcedId\":\" \"}]", null, null)]
    [InlineData("\"orgs\":[]", null, null)]
    [InlineData("\"orgs\":null", null, null)]
    [InlineData("\"x\":1", null, null)]
    public async Task References(string json, string? org, string? rule)
    {
        var (user, leniencies) = await UserAsync($"\"role\":\"teacher\",{json}");
        Assert.Equal([new UserRole("teacher", org, true, null, null)], user.Roles);
        Assert.Equal(rule is null ? [] : [rule], leniencies.Keys);
    }

    /// <summary>A list of which nothing can be read is not an empty one.</summary>
    [Theory]
    [InlineData("[]", "")]
    [InlineData("\"\"", "")]
    [InlineData("null", null)]
    [InlineData("[null]", null)]
    [InlineData("[\"\"]", null)]
    [InlineData("[{\"sourcedId\":\" \"}]", null)]
    [InlineData("[{\"href\":\"users/1\"},[1],true]", null)]
    [InlineData("{\"href\":\"users/1\"}", null)]
    [InlineData("true", null)]
    [InlineData("[null,{\"sourcedId\":\"g1\"}]", "g1")]
    public async Task Agents_of_whom_none_can_be_read_are_not_sent(string json, string? agents)
    {
        var (user, _) = await UserAsync($"\"agents\":{json}");
        Assert.Equal(agents, user.Agents is null ? null : string.Join(',', user.Agents));
    }

    [Theory]
    [InlineData("\"role\":\"student\",\"orgs\":[{\"sourcedId\":\"7\"}]", false)]
    [InlineData("\"role\":\"student\",\"orgs\":[]", false)]
    [InlineData("\"role\":\"student\",\"orgs\":[{\"href\":\"x\"},{\"sourcedId\":\"9\"}]", true)]
    [InlineData("\"role\":\"student\",\"orgs\":[{\"sourcedId\":\"9\"},null]", false)]
    [InlineData("\"role\":\"student\",\"orgs\":[\"\",\"9\"]", false)]
    [InlineData("\"roles\":[{\"role\":\"student\",\"org\":{\"sourcedId\":\"9\"}}]", false)]
    [InlineData("\"role\":\"student\",\"orgs\":[{\"sourcedId\":\"9\"},{\"sourcedId\":\"\",\"type\":\"org\"}]", false)]
    [InlineData("\"roles\":[{\"role\":\"student\",\"org\":{\"href\":\"x\"}}]", true)]
    [InlineData("\"roles\":[{\"role\":\"student\",\"org\":{\"sourcedId\":\"\"}}]", false)]
    [InlineData("\"roles\":[{\"role\":\"student\",\"org\":null}]", false)]
    [InlineData("\"roles\":[{\"role\":\"student\",\"org\":{\"sourcedId\":\"9\"}},null]", true)]
    [InlineData("\"roles\":[{\"roleType\":\"primary\"},{\"role\":\"student\",\"org\":{\"sourcedId\":\"9\"}}]", true)]
    public async Task A_half_read_list_of_schools_says_so(string json, bool partial) =>
        Assert.Equal(partial, (await UserAsync(json)).User.OrgsPartial);

    [Theory]
    [InlineData("""{"demographics":{"sourcedId":"5"}}""")]
    [InlineData("""{"demographic":{"sourcedId":"5"}}""")]
    [InlineData("""{"demographics":[{"sourcedId":"5"}]}""")]
    [InlineData("""{"sourcedId":"5"}""")]
    public async Task One_persons_demographics_come_in_any_envelope(string body)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Json(body));
        using var source = server.Source(new TestTime());
        Assert.Equal("5", (await source.DemographicsOfAsync("5", TestContext.Current.CancellationToken))?.SourcedId);
    }

    [Theory]
    [InlineData("\"grades\":\"05\"", "05", "list-as-text")]
    [InlineData("\"grades\":\"05, 06\"", "05|06", "list-as-text")]
    [InlineData("\"grades\":[5]", "5", "number-as-text")]
    [InlineData("\"grades\":[\"\"]", "", null)]
    [InlineData("\"grades\":\"\"", "-", null)]
    [InlineData("\"grades\":[null]", "-", null)]
    [InlineData("\"grade\":[\"K\"]", "K", "field-alias")]
    [InlineData("\"grades\":{\"a\":1}", null, "unreadable-text")]
    public async Task Lists(string json, string? grades, string? rule)
    {
        var (user, leniencies) = await UserAsync(json);
        Assert.Equal(
            grades,
            user.Grades is null ? null
                : user.Grades.Count == 0 ? "-"
                : string.Join('|', user.Grades)
        );
        Assert.Equal(rule is null ? [] : [rule], leniencies.Keys);
    }

    [Theory]
    [InlineData("{\"type\":\"A\",\"identifier\":\"1\"}", "A=1", "list-as-object")]
    [InlineData("\"{A:1},{B:2}\"", "A=1,B=2", "list-as-text")]
    [InlineData("[{\"type\":\"A\"}]", "A=", null)]
    [InlineData("[{\"type\":\"A\",\"identifier\":7},{}]", "A=7", "number-as-text")]
    [InlineData("[3,{\"identifier\":\"1\"}]", "=1", "unreadable-entry")]
    [InlineData("[{\"type\":\" StateID\\u00a0\",\"identifier\":\"9\"},{\"type\":\"\\u200b \",\"identifier\":\"8\"}]", "StateID=9,=8", null)]
    public async Task Typed_ids(string json, string ids, string? rule)
    {
        var (user, leniencies) = await UserAsync($"\"userIds\":{json}");
        Assert.Equal(ids, string.Join(',', user.UserIds!.Select(i => i.Type + "=" + i.Identifier)));
        Assert.Equal(rule is null ? [] : [rule], leniencies.Keys);
    }

    [Theory]
    [InlineData("\"metadata.primaryOrg\":\"2\"")]
    [InlineData("\"METADATA.PRIMARYORG\":\"2\"")]
    [InlineData("\"metadata\":{\"primaryOrg\":2}")]
    [InlineData("\"metadata\":{\"primaryOrg\":{\"sourcedId\":\"2\"}}")]
    [InlineData("\"metadata\":{\"a\":{\"primaryOrg\":\"no\"},\"primaryOrg\":\"2\"}")]
    public async Task The_primary_org_is_found_in_metadata(string json) =>
        Assert.Equal("2", (await UserAsync(json)).User.MetadataPrimaryOrg);

    [Theory]
    [InlineData("\"2025-08-15\"", "2025-08-15", null)]
    [InlineData("\"2025-08-15T23:59:59-10:00\"", "2025-08-15", "date-form")]
    [InlineData("\"2025-8-5\"", "2025-08-05", "date-form")]
    [InlineData("\"2025/08/05\"", "2025-08-05", "date-form")]
    [InlineData("\"1/05/2023\"", "2023-01-05", "date-form")]
    [InlineData("\"13/05/2023\"", "2023-05-13", "date-form")]
    [InlineData("\"5.1.2023\"", "2023-01-05", "date-form")]
    [InlineData("\"20230105\"", "2023-01-05", "date-form")]
    [InlineData("20230105", "2023-01-05", "date-form")]
    [InlineData("\"2009-01-01T00:00:00+0\"", "2009-01-01", "date-form")]
    [InlineData("\"0001-01-01\"", null, "unreadable-date")]
    [InlineData("\"2023-02-30\"", null, "unreadable-date")]
    [InlineData("\"soon\"", null, "unreadable-date")]
    [InlineData("[\"2023-02-03\"]", null, "unreadable-date")]
    [InlineData("\" \"", "blank", null)]
    [InlineData("\"\\u00a0\\u200b\"", "blank", null)]
    [InlineData("\"\\u200b2025-08-15\\u00a0\"", "2025-08-15", null)]
    [InlineData("null", null, null)]
    public async Task Days(string json, string? day, string? rule)
    {
        var (page, leniencies) = await Reading.PageAsync(
            "demographics",
            RecordParsers.Demographics,
            Body($$"""{"demographics":[{"birthDate":{{json}}}]}""")
        );
        var record = Assert.Single(page.Records);
        Assert.Equal(day, record.BirthDateBlank ? "blank" : record.BirthDate?.ToString("yyyy-MM-dd"));
        Assert.Equal(rule is null ? [] : [rule], leniencies.Keys);
    }

    [Theory]
    [InlineData("\"2025-11-24T19:35:01.000Z\"", "2025-11-24T19:35:01.0000000Z", null)]
    [InlineData("\"2025-11-24T19:35:01.123456+02:00\"", "2025-11-24T17:35:01.1234560Z", null)]
    [InlineData("\"2025-11-24T19:35:01+0\"", "2025-11-24T19:35:01.0000000Z", "date-form")]
    [InlineData("\"2025-11-24 19:35\"", "2025-11-24T19:35:00.0000000Z", "date-form")]
    [InlineData("\"2025-11-24\"", "2025-11-24T00:00:00.0000000Z", "date-form")]
    [InlineData("1764012901000", "2025-11-24T19:35:01.0000000Z", "date-form")]
    [InlineData("\"2025-11-24T99:35:01Z\"", null, "unreadable-date")]
    [InlineData("\"9999-12-31T23:59:59-14:00\"", null, "unreadable-date")]
    [InlineData("\"\\ufeff2025-11-24T19:35:01.000Z\\u200e\"", "2025-11-24T19:35:01.0000000Z", null)]
    [InlineData("\"\"", null, null)]
    public async Task Times(string json, string? time, string? rule)
    {
        var (user, leniencies) = await UserAsync($"\"dateLastModified\":{json}");
        Assert.Equal(time, user.LastModified?.UtcDateTime.ToString("O"));
        Assert.Equal(rule is null ? [] : [rule], leniencies.Keys);
    }

    [Theory]
    [InlineData("\"female\"", "female", null)]
    [InlineData("\"\"", "", null)]
    [InlineData("\"M\"", "male", "sex-spelling")]
    [InlineData("\" O\"", "other", "sex-spelling")]
    [InlineData("\"\\u200bfemale\\u00a0\"", "female", "sex-spelling")]
    [InlineData("\"\\u200b\"", "", "sex-spelling")]
    [InlineData("\"ext:nonbinary\"", "other", null)]
    [InlineData("0", null, "unreadable-sex")]
    [InlineData("\"?\"", null, "unreadable-sex")]
    public async Task Sexes(string json, string? sex, string? rule)
    {
        var (page, leniencies) = await Reading.PageAsync(
            "demographics",
            RecordParsers.Demographics,
            Body($$"""{"demographics":[{"sex":{{json}}}]}""")
        );
        Assert.Equal(sex, Assert.Single(page.Records).Sex);
        Assert.Equal(rule is null ? [] : [rule], leniencies.Keys);
    }

    [Fact]
    public async Task A_key_is_kept_byte_for_byte_unless_nothing_can_be_seen_in_it()
    {
        Assert.Equal(" A|b/%é ", (await UserAsync("\"sourcedId\":\" A|b/%\\u00e9 \"")).User.SourcedId);
        Assert.Null((await UserAsync("\"sourcedId\":\"\"")).User.SourcedId);
        var (user, leniencies) = await UserAsync("\"sourcedId\":\" \\u00a0\\u200b\\ufeff\"");
        Assert.Null(user.SourcedId);
        Assert.Equal(["blank-sourced-id"], leniencies.Keys);
        Assert.Equal("12", (await UserAsync("\"sourcedId\":12")).User.SourcedId);
    }

    [Fact]
    public async Task What_no_database_takes_is_replaced_and_counted()
    {
        var (user, leniencies) = await UserAsync(
            "\"givenName\":\"a\\u0000b\",\"familyName\":\"x\\ud83dy\\ude00z\\ud83d\\ude00\",\"email\":\"q\\\"\\n\\/\""
        );
        Assert.Equal("a\uFFFDb", user.GivenName);
        Assert.Equal("x\uFFFDy\uFFFDz😀", user.FamilyName);
        Assert.Equal("q\"\n/", user.Email);
        Assert.Equal(3, leniencies["replaced-character"]);

        byte[] latin1 = [.. "{\"users\":[{\"givenName\":\"Andr"u8, 0xe9, .. "\"}]}"u8];
        var (page, counts) = await Reading.PageAsync("users", RecordParsers.User, new MemoryStream(latin1));
        Assert.Equal("Andr\uFFFD", page.Records[0].GivenName);
        Assert.Equal(1, counts["invalid-utf8"]);
    }

    [Fact]
    public async Task Escaped_field_names_are_field_names() =>
        Assert.Equal("x", (await UserAsync("\"given\\u004eame\":\"x\"")).User.GivenName);

    [Theory]
    [InlineData("""{"users":[{"sourcedId":"1"}]}""", null)]
    [InlineData("\uFEFF \n{\"users\":[{\"sourcedId\":\"1\"}]}\n", null)]
    [InlineData("""[{"sourcedId":"1"}]""", "bare-array")]
    [InlineData("""{"students":[{"sourcedId":"1"}]}""", "other-envelope")]
    [InlineData("""{"students":[{"sourcedId":"no"}],"users":[{"sourcedId":"1"}],"more":[[[]]]}""", null)]
    [InlineData("""{"statusInfoSet":[{"imsx_codeMajor":"success"}],"students":[{"sourcedId":"1"}]}""", "other-envelope")]
    [InlineData("""{"status":1,"a":{"users":[{"sourcedId":"no"}]},"users":[{"sourcedId":"1"},]}""", null)]
    public async Task The_array_is_found(string json, string? rule)
    {
        var (page, leniencies) = await Reading.PageAsync("users", RecordParsers.User, Body(json));
        Assert.Equal("1", Assert.Single(page.Records).SourcedId);
        Assert.Equal(rule is null ? [] : [rule], leniencies.Keys);
    }

    [Theory]
    [InlineData("<!DOCTYPE html><p>Sign in</p>", "web page")]
    [InlineData("", "empty page")]
    [InlineData("nope", "not JSON")]
    [InlineData("{}", "no list")]
    [InlineData("""{"users":null}""", "no list")]
    [InlineData("""{"users":{"message":"x"}}""", "no list")]
    [InlineData("""{"statusInfoSet":[{"imsx_codeMajor":"failure"}]}""", "no list")]
    [InlineData("""{"errors":["x"]}""", "no list")]
    [InlineData("""{"a":[],"b":[]}""", "several")]
    [InlineData("""{"users":[}""", "valid JSON")]
    [InlineData("""{"users":[]} trailing""", "valid JSON")]
    public async Task What_is_no_page_is_said(string body, string message)
    {
        var e = await Assert.ThrowsAsync<NotAPageException>(() => Reading.PageAsync("users", RecordParsers.User, Body(body)));
        Assert.Contains(message, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"users":[{"sourcedId":"1"},{"sour""")]
    [InlineData("""{"users":[{"sourcedId":"1"}]""")]
    [InlineData("""{"users":""")]
    [InlineData("{")]
    public async Task A_body_that_ends_early_is_no_page(string body) =>
        await Assert.ThrowsAsync<TruncatedBodyException>(() => Reading.PageAsync("users", RecordParsers.User, Body(body)));

    [Fact]
    public async Task Rows_that_are_no_objects_are_counted_and_passed_over()
    {
        var (page, _) = await Reading.PageAsync(
            "users",
            RecordParsers.User,
            Body("""{"users":[1,"x",null,[{"sourcedId":"no"}],true,{"sourcedId":"1"}]}""")
        );
        Assert.Equal((6, 5, 1), (page.Rows, page.Unreadable, page.Records.Count));
    }

    [Fact]
    public async Task Records_larger_than_the_buffer_and_bodies_in_crumbs_are_read_the_same()
    {
        var large = new string('x', 700_000);
        var json =
            "{\"users\":["
            + string.Join(
                ',',
                Enumerable
                    .Range(0, 3000)
                    .Select(i =>
                        $"{{\"sourcedId\":\"{i}\",\"junk\":{{\"a\":[\"{(i % 1000 == 7 ? large : "")}\"]}},\"givenName\":\"n{i}\"}}"
                    )
            )
            + "]}";
        var bytes = Encoding.UTF8.GetBytes(json);
        foreach (var crumb in new[] { 1 << 20, 4093 })
        {
            var (page, _) = await Reading.PageAsync("users", RecordParsers.User, new Crumbs(bytes, crumb));
            Assert.Equal(Enumerable.Range(0, 3000).Select(i => $"{i} n{i}"), page.Records.Select(u => $"{u.SourcedId} {u.GivenName}"));
        }
    }

    [Fact]
    public void Any_damage_to_a_page_ends_in_records_or_in_a_plain_refusal()
    {
        const string Sample =
            """{"status":1,"users":[{"sourcedId":"1","status":"active","dateLastModified":"2025-11-24T19:35:01.000Z","userIds":[{"type":"a","identifier":"b"}],"enabledUser":"true","givenName":"A\u00e9","role":"student","orgs":[{"sourcedId":"2"}],"grades":["11"],"agents":[],"metadata":{"primaryOrg":"2"}},{"sourcedId":"2","roles":[{"roleType":"primary","role":"student","org":{"sourcedId":"b"},"beginDate":"2025-08-15"}],"primaryOrg":null,"x":[[{}]],"birthDate":"2009-01-02","sex":"m","terms":["q"],"user":{"sourcedId":"1"}}],"z":[1]}""";
        var original = Encoding.UTF8.GetBytes(Sample);
        var damage = Gen.Select(Gen.Int[0, original.Length - 1], Gen.Int[0, 3], Gen.Byte, Gen.Int[0, original.Length - 1]);
        damage
            .List[1, 8]
            .Sample(
                changes =>
                {
                    var bytes = original.ToList();
                    foreach (var (at, kind, value, from) in changes)
                    {
                        var i = at % bytes.Count;
                        switch (kind)
                        {
                            case 0:
                                bytes[i] = value;
                                break;
                            case 1:
                                bytes.RemoveAt(i);
                                break;
                            case 2:
                                bytes.Insert(i, original[from]);
                                break;
                            default:
                                bytes.InsertRange(i, original.AsSpan(from, Math.Min(20, original.Length - from)).ToArray());
                                break;
                        }

                        if (bytes.Count == 0)
                        {
                            bytes.Add(value);
                        }
                    }

                    var body = bytes.ToArray();
                    Read("users", RecordParsers.User, body);
                    Read("demographics", RecordParsers.Demographics, body);
                    Read("classes", RecordParsers.Class, body);
                    Read("enrollments", RecordParsers.Enrollment, body);
                    try
                    {
                        SingleReader.Read(body, "user"u8, "users"u8, RecordParsers.User);
                    }
                    catch (Exception e) when (e is NotAPageException or System.Text.Json.JsonException) { }
                },
                iter: Fuzz.Seconds is null ? 20_000 : -1,
                time: Fuzz.Seconds ?? -1
            );
    }

    /// <summary>Texts out of the words that pages are made of, in any order and depth.</summary>
    [Fact]
    public void Any_heap_of_json_words_ends_in_records_or_in_a_plain_refusal()
    {
        string[] words =
        [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "{\"users\":[",
            "\"users\":",
            "{\"sourcedId\":\"1\"}",
            "\"sourcedId\":",
            "\"roles\":[{",
            "\"org\":",
            "\"orgs\":",
            "\"userIds\":",
            "\"metadata\":{",
            "\"grades\":",
            "\"agents\":",
            "\"status\":\"tobedeleted\"",
            "\"dateLastModified\":\"0001-01-01\"",
            "\"enabledUser\":",
            "\"beginDate\":\"+0\"",
            "\"a\\ud800b\"",
            "\"\\u0000\"",
            "null",
            "true",
            "-1e999",
            "12345678901234567890",
            " ",
            "\n",
            "\uFEFF",
            "\u00e9",
            "<html>",
            "\"imsx_codeMajor\":",
            "/*",
            "\\",
        ];
        Gen.Int[0, words.Length - 1]
            .List[0, 60]
            .Sample(
                picked =>
                {
                    var body = Encoding.UTF8.GetBytes("{\"users\":[{" + string.Concat(picked.Select(i => words[i])));
                    Read("users", RecordParsers.User, body);
                    Read("users", RecordParsers.User, body[11..]);
                    Read("orgs", RecordParsers.Org, body);
                    Read("academicSessions", RecordParsers.AcademicSession, body);
                },
                iter: Fuzz.Seconds is null ? 20_000 : -1,
                time: Fuzz.Seconds ?? -1
            );
    }

    private static void Read<T>(string key, RecordParser<T> parse, byte[] body)
    {
        try
        {
            // A stream in memory completes at once, so there is nothing to wait for.
            var task = new PageReader<T>(key, parse, new ReadContext()).ReadAsync(new MemoryStream(body), CancellationToken.None).AsTask();
            Assert.True(task.IsCompleted);
            task.GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is NotAPageException or TruncatedBodyException) { }
    }

    [Fact]
    public async Task A_record_without_end_is_refused_before_it_fills_the_memory()
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        var e = await Assert.ThrowsAsync<NotAPageException>(() =>
            Reading.PageAsync("users", RecordParsers.User, new Endless("{\"users\":[{\"givenName\":\""))
        );
        Assert.Contains("larger than the 16 MB", e.Message, StringComparison.Ordinal);
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 200_000_000);

        // Blanks are no record: they take no memory, and end with the limit of the answer.
        await Assert.ThrowsAsync<BodyTooLargeException>(() =>
            Reading.PageAsync("users", RecordParsers.User, new CappedStream(new Endless("{\"users\":[", (byte)' '), 100_000_000, () => { }))
        );
    }

    /// <summary>A beginning, and then one byte for ever.</summary>
    private sealed class Endless(string start, byte more = (byte)'x') : MemoryStream(Encoding.UTF8.GetBytes(start))
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (Position < Length)
            {
                return base.ReadAsync(buffer, cancellationToken);
            }

            buffer.Span.Fill(more);
            return ValueTask.FromResult(buffer.Length);
        }
    }

    /// <summary>Gives at most so many bytes at a time.</summary>
    private sealed class Crumbs(byte[] bytes, int most) : MemoryStream(bytes)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(most, buffer.Length)], cancellationToken);
    }

    [Fact]
    public async Task A_record_larger_than_the_buffer_is_counted_once()
    {
        // What is forgiven in its first half is seen twice, since the record has to be read again when the rest has come.
        var large = new string('x', 1_500_000);
        var (page, leniencies) = await Reading.PageAsync(
            "users",
            RecordParsers.User,
            Body(
                $$"""{"users":[{"sourcedId":"1","role":"student"},{"sourcedId":2,"role":"student","odd":"{{large}}","givenName":3},{"sourcedId":"4","role":"student"}]}"""
            )
        );
        Assert.Equal(["1", "2", "4"], page.Records.Select(u => u.SourcedId));
        Assert.Equal("3", page.Records[1].GivenName);
        Assert.Equal(2, leniencies["number-as-text"]);
    }
}
