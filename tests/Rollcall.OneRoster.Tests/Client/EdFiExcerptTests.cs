using System.Text;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Client;

/// <summary>Excerpts of what a certified OneRoster 1.2 provider sends: the Ed-Fi Alliance's OneRoster service with its sample
/// district. Apache License 2.0, Ed-Fi Alliance; every person is fictitious.</summary>
public class EdFiExcerptTests
{
    private const string Users = """
        {"users":[{"sourcedId":"0005b13d2b103b68dc27379b275edb0e","status":"active","dateLastModified":"2026-08-02T10:28:00.000Z","username":"","userIds":[{"type":"contactUniqueId","identifier":"779082"}],"enabledUser":"true","givenName":"Lillian","familyName":"Schmidt","roles":[{"roleType":"primary","role":"parent","org":{"href":"/orgs/5643e68db2cfe9bf142de280d85599f9","sourcedId":"5643e68db2cfe9bf142de280d85599f9","type":"org"}}],"identifier":"779082","metadata":{"edfi":{"resource":"contacts","naturalKey":{"contactUniqueId":"779082"},"educationOrganizationId":255901001}}}]}
        """;

    private const string Classes = """
        {"classes":[{"sourcedId":"008f8b93cccc87f8fefb22783944a00e","status":"active","dateLastModified":"2026-11-23T19:17:11.124Z","title":"","classCode":"SS-05","classType":"scheduled","location":"304","course":{"href":"/courses/f771b25d2ef828f30ee99cc8388b0627","sourcedId":"f771b25d2ef828f30ee99cc8388b0627","type":"course"},"school":{"href":"/orgs/1bd08d499d05760713d62a617894b78f","sourcedId":"1bd08d499d05760713d62a617894b78f","type":"org"},"terms":[{"href":"/academicSessions/4f7aff43f384f044c71d36462a4829cb","type":"academicSession","sourcedId":"4f7aff43f384f044c71d36462a4829cb"}],"periods":["07 - Traditional"],"metadata":{"edfi":{"resource":"sections","naturalKey":{"localCourseCode":"SS-05","schoolid":255901107}}}}]}
        """;

    [Fact]
    public async Task Its_users_are_read_as_sent()
    {
        var (page, leniencies) = await Reading.PageAsync("users", RecordParsers.User, new MemoryStream(Encoding.UTF8.GetBytes(Users)));
        var user = Assert.Single(page.Records);
        Assert.Empty(leniencies);
        Assert.Equal("0005b13d2b103b68dc27379b275edb0e", user.SourcedId);
        Assert.Equal([new UserRole("parent", "5643e68db2cfe9bf142de280d85599f9", true, null, null)], user.Roles);
        Assert.True(user.HasRoleList);

        // Sent blank and not sent are two things.
        Assert.Equal("", user.Username);
        Assert.Null(user.Email);
        Assert.Null(user.MetadataPrimaryOrg);
    }

    [Fact]
    public async Task Its_classes_are_read_as_sent()
    {
        var (page, leniencies) = await Reading.PageAsync("classes", RecordParsers.Class, new MemoryStream(Encoding.UTF8.GetBytes(Classes)));
        var read = Assert.Single(page.Records);
        Assert.Empty(leniencies);
        Assert.Equal(("", "SS-05", "scheduled", "304"), (read.Title, read.ClassCode, read.ClassType, read.Location));
        Assert.Equal("1bd08d499d05760713d62a617894b78f", read.School);
        Assert.Equal(["4f7aff43f384f044c71d36462a4829cb"], read.Terms);
    }
}
