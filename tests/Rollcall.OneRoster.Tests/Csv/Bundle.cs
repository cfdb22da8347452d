using System.IO.Compression;
using System.Text;

namespace Rollcall.OneRoster.Tests.Csv;

/// <summary>A package of a few people that is right in every respect, to be spoilt one way at a time.</summary>
internal sealed class Bundle
{
    public Dictionary<string, string> Files { get; } = new(StringComparer.Ordinal);

    /// <summary>Bytes in place of text, for other encodings.</summary>
    public Dictionary<string, byte[]> Raw { get; } = new(StringComparer.Ordinal);

    public static Bundle Of(string version, bool delta = false)
    {
        var bundle = new Bundle();
        var mode = delta ? "delta" : "bulk";
        var state = delta ? "active,2026-02-03T04:05:06.000Z" : ",";
        var files = bundle.Files;
        if (version != "1.0")
        {
            string[] names =
            [
                "academicSessions",
                "orgs",
                "courses",
                "classes",
                "users",
                "enrollments",
                "demographics",
                .. version == "1.2" ? (string[])["roles", "userProfiles"] : [],
            ];
            string[] absent =
            [
                "resources",
                "classResources",
                "courseResources",
                "categories",
                "lineItems",
                "results",
                .. version == "1.2"
                    ? (string[])
                        [
                            "userResources",
                            "scoreScales",
                            "lineItemScoreScales",
                            "resultScoreScales",
                            "lineItemLearningObjectiveIds",
                            "resultLearningObjectiveIds",
                        ]
                    : [],
            ];
            files["manifest.csv"] = Lines([
                "propertyName,value",
                "manifest.version,1.0",
                $"oneroster.version,{version}",
                .. names.Select(n => $"file.{n},{mode}"),
                .. absent.Select(n => $"file.{n},absent"),
                "source.systemName,Sample SIS",
                "source.systemCode,SIS",
            ]);
        }

        files["orgs.csv"] = Lines([
            "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId",
            $"d1,{state},Lake District,district,,",
            $"s1,{state},North School,school,100,d1",
            $"s2,{state},\"South, School\",school,200,d1",
        ]);
        files["academicSessions.csv"] = Lines([
            "sourcedId,status,dateLastModified,title,type,startDate,endDate,parentSourcedId,schoolYear",
            $"y1,{state},2026-2027,schoolYear,2026-08-01,2027-06-15,,2027",
            $"t1,{state},Fall,term,2026-08-01,2026-12-20,y1,2027",
        ]);
        files["courses.csv"] = Lines([
            "sourcedId,status,dateLastModified,schoolYearSourcedId,title,courseCode,grades,orgSourcedId,subjects,subjectCodes",
            $"c1,{state},y1,Reading,R1,01,d1,Reading,",
        ]);
        files["classes.csv"] = Lines([
            "sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,schoolSourcedId,termSourcedIds,subjects,subjectCodes,periods",
            $"k1,{state},Homeroom 1,01,c1,HR1,homeroom,Room 7,s1,\"y1,t1\",,,",
            $"k2,{state},Reading 1,01,c1,RD1,scheduled,Room 8,s1,t1,,,",
        ]);
        files["enrollments.csv"] = Lines([
            "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,primary,beginDate,endDate",
            $"e1,{state},k1,s1,u1,student,,2026-08-01,2027-06-15",
            $"e2,{state},k1,s1,u3,teacher,true,,",
        ]);
        files["demographics.csv"] = Lines([
            "sourcedId,status,dateLastModified,birthDate,sex,americanIndianOrAlaskaNative,asian,blackOrAfricanAmerican,nativeHawaiianOrOtherPacificIslander,white,demographicRaceTwoOrMoreRaces,hispanicOrLatinoEthnicity,countryOfBirthCode,stateOfBirthAbbreviation,cityOfBirth,publicSchoolResidenceStatus",
            $"u1,{state},2018-03-04,female,false,true,false,false,false,false,false,US,TX,Lakeside,01652",
        ]);
        if (version == "1.2")
        {
            files["users.csv"] = Lines([
                "sourcedId,status,dateLastModified,enabledUser,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,password,userMasterIdentifier,preferredGivenName,preferredMiddleName,preferredFamilyName,primaryOrgSourcedId,pronouns",
                $"u1,{state},true,amy,\"{{Local:17}},{{State:99}}\",Amy,Archer,Jo,17,amy@example.org,,555-1,u4,01,,m1,Ames,,,s1,she",
                $"u2,{state},true,ben,{{Local:18}},Ben,Baker,,18,ben@example.org,,,,\"02,03\",,,,,,,",
                $"u3,{state},true,cora,,Cora,Clark,,,cora@example.org,,,,,,,,,,,",
                $"u4,{state},true,dan,,Dan,Archer,,,dan@example.org,,555-2,u1,,,,,,,,",
            ]);
            files["roles.csv"] = Lines([
                "sourcedId,status,dateLastModified,userSourcedId,roleType,role,beginDate,endDate,orgSourcedId,userProfileSourcedId",
                $"r1,{state},u1,primary,student,2026-08-01,2027-06-15,s1,p1",
                $"r2,{state},u2,secondary,student,,,s1,",
                $"r3,{state},u2,primary,student,,,s2,",
                $"r4,{state},u3,primary,teacher,,,s1,",
                $"r5,{state},u4,primary,parent,,,d1,",
            ]);
            files["userProfiles.csv"] = Lines([
                "sourcedId,status,dateLastModified,userSourcedId,profileType,vendorId,applicationId,description,credentialType,username,password",
                $"p1,{state},u1,profile,vendor,app,,secret,amy,hunter2",
            ]);
        }
        else if (version == "1.1")
        {
            files["users.csv"] = Lines([
                "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,password",
                $"u1,{state},true,\"s1,s2\",student,amy,\"{{Local:17}},{{State:99}}\",Amy,Archer,Jo,17,amy@example.org,,555-1,u4,01,hunter2",
                $"u2,{state},false,s2,student,ben,{{Local:18}},Ben,Baker,,18,ben@example.org,,,,\"02,03\",",
                $"u3,{state},true,s1,teacher,cora,,Cora,Clark,,,cora@example.org,,,,,",
                $"u4,{state},true,d1,parent,dan,,Dan,Archer,,,dan@example.org,,555-2,u1,,",
            ]);
        }
        else
        {
            files["users.csv"] = Lines([
                "sourcedId,status,dateLastModified,orgSourcedIds,role,username,userId,givenName,familyName,identifier,email,sms,phone,agents",
                $"u1,{state},\"s1,s2\",student,amy,17,Amy,Archer,17,amy@example.org,,555-1,u4",
                $"u2,{state},s2,student,ben,18,Ben,Baker,18,ben@example.org,,,",
                $"u3,{state},s1,teacher,cora,,Cora,Clark,,cora@example.org,,,",
                $"u4,{state},d1,parent,dan,,Dan,Archer,,dan@example.org,,555-2,u1",
            ]);
            files["demographics.csv"] = files["demographics.csv"]
                .Replace("sourcedId,status", "userSourcedId,status", StringComparison.Ordinal)
                .Replace("birthDate", "birthdate", StringComparison.Ordinal);
            files["enrollments.csv"] = Lines([
                "sourcedId,classSourcedId,schoolSourcedId,userSourcedId,role,status,dateLastModified,primary",
                $"e1,k1,s1,u1,student,{state},",
                $"e2,k1,s1,u3,teacher,{state},true",
            ]);
            files["academicSessions.csv"] = files["academicSessions.csv"]
                .Replace(",schoolYear\r\n", "\r\n", StringComparison.Ordinal)
                .Replace(",2027\r\n", "\r\n", StringComparison.Ordinal);
        }

        return bundle;
    }

    public static string Lines(string[] lines) => string.Join("\r\n", lines) + "\r\n";

    /// <summary>Replaces a text that must be there.</summary>
    public Bundle With(string file, string old, string now)
    {
        var text = Files[file];
        var at = text.IndexOf(old, StringComparison.Ordinal);
        Assert.True(at >= 0, $"{file} has no '{old}'");
        Files[file] = string.Concat(text.AsSpan(0, at), now, text.AsSpan(at + old.Length));
        return this;
    }

    public Bundle Without(string file)
    {
        Assert.True(Files.Remove(file));
        return this;
    }

    public Bundle Put(string file, string text)
    {
        Files[file] = text;
        return this;
    }

    public Bundle Append(string file, string line)
    {
        Files[file] += line + "\r\n";
        return this;
    }

    public byte[] ToZip(string folder = "")
    {
        using var bytes = new MemoryStream();
        using (var zip = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, content) in All())
            {
                using var stream = zip.CreateEntry(folder + name).Open();
                stream.Write(content);
            }
        }

        return bytes.ToArray();
    }

    public void ToFolder(string folder)
    {
        Directory.CreateDirectory(folder);
        foreach (var (name, content) in All())
        {
            File.WriteAllBytes(Path.Combine(folder, name), content);
        }
    }

    private IEnumerable<(string Name, byte[] Content)> All() =>
        Files
            .Select(f => (f.Key, Raw.TryGetValue(f.Key, out var raw) ? raw : Encoding.UTF8.GetBytes(f.Value)))
            .Concat(Raw.Where(r => !Files.ContainsKey(r.Key)).Select(r => (r.Key, r.Value)));
}

/// <summary>A folder of this test alone.</summary>
internal sealed class Folder : IDisposable
{
    public Folder() => Directory.CreateDirectory(Path);

    public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), "rollcall-csv-" + Guid.NewGuid().ToString("N"));

    public string Write(string name, byte[] content)
    {
        var path = System.IO.Path.Combine(Path, name);
        File.WriteAllBytes(path, content);
        return path;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
