using System.Text;

namespace Rollcall.Sandbox.District;

/// <summary>A name as written, and the plain letters that logins and addresses make of it.</summary>
internal sealed class Name(int number, string text, string login)
{
    /// <summary>By which people hold it: their district knows the name.</summary>
    public int Number => number;

    public string Text => text;

    public string Login => login;
}

/// <summary>Invented people need believable names: frequent ones, ones beyond ASCII, and ones that break narrow columns.</summary>
internal static class Names
{
    // The first is nobody's: 0 stands for no name.
    private static readonly List<Name> s_all = [new(0, "", "")];

    public static readonly Name[] Girls = Split(
        "Emma Olivia Ava Sophia Isabella Mia Charlotte Amelia Harper Evelyn Abigail Emily Ella Madison Scarlett Grace Chloe Lily Hannah Aria "
            + "Layla Nora Zoey Riley Savannah Maya Naomi Aaliyah Ruby Leah Fatima Aisha Priya Ananya Keisha Imani Destiny Jasmine Ximena Valentina "
            + "Camila Lucia Guadalupe Rosa Mei Yuna Hana Linh Thuy Sakura Ingrid Freya Saoirse Niamh Anastasia Svetlana Amira Yasmin Nia Tamika"
    );

    public static readonly Name[] Boys = Split(
        "Liam Noah Oliver Elijah James William Benjamin Lucas Henry Alexander Mason Michael Ethan Daniel Jacob Logan Jackson Levi Sebastian Mateo "
            + "Jack Owen Theodore Aiden Samuel Joseph John David Wyatt Matthew Luke Asher Carter Julian Grayson Leo Jayden Gabriel Isaac Lincoln "
            + "Mohammed Omar Yusuf Arjun Rohan Vikram DeShawn Malik Tyrone Jamal Diego Santiago Javier Carlos Minh Hiro Kenji Dmitri Ivan Kwame"
    );

    public static readonly Name[] UnusualGiven = Split(
        "Zoë Renée Chloë José María Núñez-Ann Anaïs François Jürgen Björn Łukasz Żaneta Šárka Ángel Sofía Iñaki Mary-Kate Jean-Luc D'Andre "
            + "Ta'Niyah Øyvind Åsa Søren Ćirilo Đorđe Thảo Ngọc Ştefan İpek Maëlys Siân 伟=wei 芳=fang 명수=myungsoo さくら=sakura"
    );

    public static readonly Name[] Families = Split(
        "Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Gonzalez Wilson Anderson Thomas Taylor Moore "
            + "Jackson Martin Lee Perez Thompson White Harris Sanchez Clark Ramirez Lewis Robinson Walker Young Allen King Wright Scott Torres Nguyen "
            + "Hill Flores Green Adams Nelson Baker Hall Rivera Campbell Mitchell Carter Roberts Gomez Phillips Evans Turner Diaz Parker Cruz Edwards "
            + "Collins Reyes Stewart Morris Morales Murphy Cook Rogers Gutierrez Ortiz Morgan Cooper Peterson Bailey Reed Kelly Howard Ramos Kim Cox "
            + "Ward Richardson Watson Brooks Chavez Wood James Bennett Gray Mendoza Ruiz Hughes Price Alvarez Castillo Sanders Patel Myers Long Ross "
            + "Foster Jimenez Powell Jenkins Perry Russell Sullivan Bell Coleman Butler Henderson Barnes Gonzales Fisher Vasquez Simmons Romero Jordan "
            + "Patterson Alexander Hamilton Graham Reynolds Griffin Wallace Moreno West Cole Hayes Bryant Herrera Gibson Ellis Tran Medina Aguilar "
            + "Stevens Murray Ford Castro Marshall Owens Harrison Fernandez Mcdonald Woods Washington Kennedy Wells Vargas Henry Chen Freeman Webb "
            + "Tucker Guzman Burns Crawford Olson Simpson Porter Hunter Gordon Mendez Silva Shaw Snyder Mason Dixon Munoz Hunt Hicks Holmes Palmer "
            + "Wagner Black Robertson Boyd Rose Stone Salazar Fox Warren Mills Meyer Rice Schmidt Garza Daniels Ferguson Nichols Stephens Soto Weaver "
            + "Ryan Gardner Payne Grant Dunn Kelley Spencer Hawkins Arnold Pierce Hansen Peters Santos Hart Bradley Knight Elliott Cunningham Duncan "
            + "Okafor Mensah Abdi Haddad Rahman Singh Sharma Gupta Yamamoto Tanaka Park Choi Wong Liu Zhang Kowalski Novak Petrov Ivanov Rossi Larsen"
    );

    public static readonly Name[] UnusualFamilies = Split(
        "O'Brien O'Neill D'Angelo Nguyễn Trần García-López Núñez Peña Muñoz-Vega Łukaszewicz Wiśniewska Müller Strauß Østergård Åkesson Søndergaard "
            + "Dvořák Šimunović Đorđević Çelik Yılmaz Gonçalves Françoeur L'Écuyer Saint-Exupéry Ōkubo 王=wang 李=li 김=kim 田中=tanaka van_der_Berg "
            + "de_la_Cruz St._John MacDonald-Ross ʻAkana=akana N'Diaye"
    );

    public static readonly Name LongFamily = New(
        "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh-Cholmondeley-Marjoribanks-Papadiamantopoulos-Raharimanantsoa-Andriamampianina",
        "wolfeschlegel"
    );

    public static readonly Name LongGiven = New(
        "Maria-Magdalena Theodora Wilhelmina Konstantina Evangelista Francesca Alexandra-Josephine",
        "mariamagdalena"
    );

    public static readonly Name[] Initials = [.. "ABCDEFGHJKLMNPRSTVW".Select(c => Make(c.ToString()))];

    public static readonly string[] Schools =
    [
        "Maple Grove",
        "Lincoln",
        "Washington",
        "Cedar Ridge",
        "Oak Hill",
        "Riverside",
        "Sunnyside",
        "Roosevelt",
        "Jefferson",
        "Pine Valley",
        "Martin Luther King Jr.",
        "César Chávez",
        "Rosa Parks",
        "Willow Creek",
        "Franklin",
        "Meadowbrook",
        "Harriet Tubman",
        "Eagle Point",
        "Lakeview",
        "Birchwood",
        "St. Anne's Road",
        "Fox Run",
        "Granite Peak",
        "Hawthorne",
        "Prairie View",
        "Stonebridge",
        "Walnut Street",
        "Amelia Earhart",
        "Booker T. Washington",
        "Clearwater",
    ];

    /// <summary>All of them; a name's number is its place.</summary>
    public static IReadOnlyList<Name> All => s_all;

    private static Name Make(string text)
    {
        var login = new StringBuilder(text.Length);
        foreach (var c in text)
        {
            if (char.IsAsciiLetter(c))
            {
                login.Append(char.ToLowerInvariant(c));
            }
            else if (Plain(c) is { } plain)
            {
                login.Append(plain);
            }
        }

        return New(text, login.Length == 0 ? "user" : login.ToString());
    }

    // An underscore stands for a blank, "=" gives the login of a name in another script.
    private static Name[] Split(string list) =>
        [
            .. list.Split(' ')
                .Select(item => item.Split('='))
                .Select(parts => parts.Length == 2 ? New(parts[0], parts[1]) : Make(parts[0].Replace('_', ' '))),
        ];

    private static Name New(string text, string login)
    {
        var name = new Name(s_all.Count, text, login);
        s_all.Add(name);
        return name;
    }

    private static string? Plain(char c) =>
        c switch
        {
            'á' or 'à' or 'ã' or 'â' or 'ả' or 'Á' => "a",
            'å' or 'Å' => "a",
            'ä' => "ae",
            'ç' or 'Ç' or 'ć' or 'Ć' or 'č' => "c",
            'Đ' or 'đ' => "d",
            'é' or 'è' or 'ê' or 'ë' or 'É' or 'ễ' or 'ě' => "e",
            'í' or 'ï' or 'ı' or 'İ' => "i",
            'Ł' or 'ł' => "l",
            'ñ' => "n",
            'ó' or 'ò' or 'ọ' or 'Ō' or 'ø' or 'Ø' => "o",
            'ö' => "oe",
            'ř' => "r",
            'ś' or 'š' or 'Š' or 'Ş' => "s",
            'ß' => "ss",
            'ú' => "u",
            'ü' => "ue",
            'Ż' => "z",
            'ầ' => "a",
            _ => null,
        };
}
