using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Rollcall.Patrons;

namespace Rollcall.Tests.Patrons;

/// <summary>Texts compare as people mean them, on a machine without culture data too.</summary>
public sealed class TextTests
{
    [Theory]
    [InlineData("Last", "lastName")]
    [InlineData("FIRST", "firstName")]
    [InlineData("Mail", "email")]
    [InlineData("Email", "email")]
    [InlineData("Student No.", "communityId")]
    [InlineData("Student ID", "communityId")]
    [InlineData("Student #", "communityId")]
    [InlineData("DOB", "birthdate")]
    [InlineData("Birth Date", "birthdate")]
    [InlineData("Gender", "sex")]
    [InlineData("Homeroom", "location")]
    [InlineData("Home Room", "location")]
    [InlineData("Grade Level", "level")]
    [InlineData("Middle Initial", "middleName")]
    [InlineData("Guardian Email", "otherEmails")]
    [InlineData("School Code", "site")]
    [InlineData("Teacher", null)]
    [InlineData("Name", null)]
    public void Headers_of_other_systems_mean_their_fields(string header, string? field) =>
        Assert.Equal(field, PatronFields.Find(header)?.Name);

    [Theory]
    [InlineData("Çelik", "celik")]
    [InlineData("C\u0327elik", "celik")]
    [InlineData("NGUYỄN", "nguyen")]
    [InlineData("Ångström", "angstrom")]
    [InlineData("Łukasz", "lukasz")]
    [InlineData("Straße", "strasse")]
    [InlineData("O\u2019Brien", "o'brien")]
    [InlineData("Ｓｍｉｔｈ", "smith")]
    [InlineData("ﬁona", "fiona")]
    [InlineData("Ανδρέας", "ανδρεας")]
    [InlineData("Йосиф", "иосиф")]
    public void Names_fold_without_case_and_accents(string name, string folded) => Assert.Equal(folded, Text.Fold(name));

    [Theory]
    [InlineData("Zoe\u0308", "Zoë")]
    [InlineData("\u1112\u1161\u11AB\u1100\u1173\u11AF", "한글")]
    [InlineData("a\u0323\u0307", "\u1EA1\u0307")]
    [InlineData("a\u0307\u0323", "\u1EA1\u0307")]
    [InlineData("\u212B", "Å")]
    [InlineData(" \u200B\u00A0Ada\uFEFF ", "Ada")]
    [InlineData("\u200EAda\u202C", "Ada")]
    [InlineData("\u3164\uFE0F\U000E0020", null)]
    [InlineData("Ada\u034F\u200D", "Ada")]
    [InlineData("\u0639\u0644\u06CC\u200C\u0631\u0636\u0627", "\u0639\u0644\u06CC\u200C\u0631\u0636\u0627")]
    [InlineData("\U0001F469\u200D\U0001F680", "\U0001F469\u200D\U0001F680")]
    [InlineData("Ada \u2764\uFE0F\u200B", "Ada \u2764\uFE0F")]
    [InlineData("\U0001F3F4\U000E0067\U000E0062\U000E007F ", "\U0001F3F4\U000E0067\U000E0062\U000E007F")]
    [InlineData("\u06DD12", "\u06DD12")]
    public void Texts_are_kept_in_composed_form(string sent, string? kept) => Assert.Equal(kept, Text.Clean(sent));

    [Theory]
    [InlineData(" 10\u200B0\u200E1 ", "1001")]
    [InlineData("\u3164\u200E", null)]
    [InlineData("A 1", "A 1")]
    public void Keys_have_nothing_that_cannot_be_seen(string sent, string? kept) => Assert.Equal(kept, Text.CleanKey(sent));

    [Theory]
    [InlineData("\u0001\u0002", null)]
    [InlineData("\t \u007f\u009f", null)]
    [InlineData("\u0003 Ada\u0004\u200B", "Ada")]
    [InlineData("Ada\nMay\u007fKing", "Ada May King")]
    public void Control_characters_are_blanks(string sent, string? kept) => Assert.Equal(kept, Text.Clean(sent));

    [Theory]
    [InlineData("Likes horses\r\n\r\nowes\ta book \n", "Likes horses\n\nowes a book")]
    [InlineData("a\rb\u0001c", "a\nb c")]
    [InlineData("\n \n\u0001", null)]
    public void Notes_have_lines(string sent, string? kept)
    {
        Assert.True(PatronFields.TryCanonical(PatronFields.ByNumber(PatronFields.Notes), sent, out var canonical, out _));
        Assert.Equal(kept, canonical);
    }

    /// <summary>60,000 texts of letters that compose, decompose or combine; the hashes are of what another implementation, Python's,
    /// makes of the same texts.</summary>
    [Fact]
    public void Normal_forms_are_those_of_another_implementation()
    {
        var pool = Pool();
        using var composed = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var decomposed = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        ulong x = 42;
        for (var i = 0; i < 60_000; i++)
        {
            var text = new StringBuilder();
            for (var j = 0; j < 1 + (i % 7); j++)
            {
                x = unchecked((x * 6364136223846793005) + 1442695040888963407);
                text.Append(new Rune(pool[(int)((x >> 33) % (ulong)pool.Count)]).ToString());
            }

            composed.AppendData(Encoding.UTF8.GetBytes(UnicodeForms.Compose(text.ToString()) + "\n"));
            decomposed.AppendData(Encoding.UTF8.GetBytes(UnicodeForms.Decompose(text.ToString()) + "\n"));
        }

        Assert.Equal(8755, pool.Count);
        Assert.Equal(
            "cd05ecfbef6e73db81c7d1cce0ad264392b6c6a4cfdb059855afc8f22ad48a36",
            Convert.ToHexStringLower(decomposed.GetHashAndReset())
        );
        Assert.Equal(
            "a84b43539c0197847976d02eb068795210f62d91885c9d57c4236d8f638a040f",
            Convert.ToHexStringLower(composed.GetHashAndReset())
        );
    }

    private static List<int> Pool()
    {
        var all = new SortedSet<int>();
        using var reader = new StreamReader(typeof(Text).Assembly.GetManifestResourceStream("UnicodeForms.txt")!);
        while (reader.ReadLine() is { } line)
        {
            var words = line.Split(' ');
            if (words[0] != "#")
            {
                all.UnionWith(
                    words
                        .Skip(1)
                        .Take(words[0] == "o" ? 1 : 99)
                        .Select(w => int.Parse(w, NumberStyles.HexNumber, CultureInfo.InvariantCulture))
                );
            }
        }

        foreach (var (from, to) in ((int, int)[])[(0x1100, 0x1113), (0x1161, 0x1176), (0x11A7, 0x11C3), (0xAC00, 0xAC40), (0x41, 0x5B)])
        {
            all.UnionWith(Enumerable.Range(from, to - from));
        }

        return [.. all];
    }

    [Theory]
    [InlineData(PatronFields.Birthdate, "2012-09-30", "2012-09-30")]
    [InlineData(PatronFields.Birthdate, "9/30/2012", "2012-09-30")]
    [InlineData(PatronFields.Birthdate, "24.12.2010", "2010-12-24")]
    [InlineData(PatronFields.Birthdate, "4.3.2010", "2010-03-04")]
    [InlineData(PatronFields.Birthdate, "12.24.2010", null)]
    [InlineData(PatronFields.Birthdate, "24.12.10", null)]
    [InlineData(PatronFields.Birthdate, "09/30/12", null)]
    [InlineData(PatronFields.GraduationDate, "2027", null)]
    [InlineData(PatronFields.GraduationDate, "6/15/27", null)]
    public void A_date_is_taken_whole_and_no_century_or_day_is_guessed(int number, string written, string? taken)
    {
        var field = PatronFields.ByNumber(number);
        Assert.Equal(taken is not null, PatronFields.TryCanonical(field, written, out var canonical, out var problem));
        Assert.Equal(taken, canonical);
        Assert.Equal(
            taken is not null
                ? ""
                : $"{field.Label} is a whole date with the year in four digits, such as 2012-09-30, 9/30/2012 or 30.9.2012",
            problem
        );
    }
}
